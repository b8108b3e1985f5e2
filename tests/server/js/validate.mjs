// node validate.mjs <schemas.json>: events as JSON lines {schema, payload} on standard input, verdicts as JSON lines.
import { readFileSync } from "node:fs";
import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

const schemas = JSON.parse(readFileSync(process.argv[2], "utf8"));
const ajv = new Ajv2020({ allErrors: true });
addFormats(ajv);
ajv.addFormat("decimal", true); // the pattern beside it says what a decimal is
for (const limit of ["x-minimum", "x-maximum", "x-exclusiveMinimum", "x-exclusiveMaximum"]) ajv.addKeyword(limit);
ajv.addKeyword("x-maxDigits");
const validators = Object.fromEntries(Object.entries(schemas).map(([id, schema]) => [id, ajv.compile(schema)]));

for (const line of readFileSync(0, "utf8").split("\n").filter(Boolean)) {
  const { schema, payload } = JSON.parse(line);
  const valid = validators[schema](payload);
  console.log(JSON.stringify({ schema, valid, errors: valid ? [] : ajv.errorsText(validators[schema].errors) }));
}
