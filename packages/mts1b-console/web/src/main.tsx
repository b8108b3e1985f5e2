import { render } from "preact";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/shell.css";
import "./styles/parts.css";
import "./styles/event.css";
import "./styles/dialog.css";
import "./styles/pages.css";
import "uplot/dist/uPlot.min.css";
import { App } from "./app";
import { listen } from "./base/listen";
import { followLinks } from "./base/route";
import "./base/theme";

listen();
followLinks();
render(<App />, document.getElementById("app")!);
