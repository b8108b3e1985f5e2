"""Reconciliation of the separate books of order management, brokers and treasury."""

from dataclasses import dataclass
from decimal import Decimal

from mts1b_desk.books import BrokerBook, OmsBook, TreasuryBook
from mts1b_desk.money import exactly, plain

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure on which two books disagree."""

    fund_id: str
    what: str
    figures: dict[str, str]
    """What each service says."""

    def __str__(self) -> str:
        said = ", ".join(f"{service} says {figure}" for service, figure in self.figures.items())
        return f"fund {self.fund_id}, {self.what}: {said}"


def reconcile(oms: OmsBook, brokers: BrokerBook, treasury: TreasuryBook) -> list[Difference]:
    """Every difference between the books, funds and figures in a fixed order; none when they agree.

    Compared are the number of executions, every position, the cash that trading moved, and whether the treasury's NAV
    is its cash and its positions at their marks.
    """
    found: list[Difference] = []
    with exactly():
        for fund in sorted(oms.funds.keys() | brokers.funds.keys() | treasury.funds.keys()):
            found += _compare(fund, oms, brokers, treasury)
    return found


def _compare(fund: str, oms: OmsBook, brokers: BrokerBook, treasury: TreasuryBook) -> list[Difference]:
    orders, executions, holdings = oms.funds.get(fund), brokers.funds.get(fund), treasury.funds.get(fund)
    found: list[Difference] = []

    def check(what: str, **figures: Decimal | int) -> None:
        if len(set(figures.values())) > 1:
            said = {name: plain(Decimal(figure)) for name, figure in figures.items()}
            found.append(Difference(fund, what, said))

    check(
        "number of fills",
        oms=orders.fills if orders else 0,
        brokers=executions.executions if executions else 0,
        treasury=holdings.fills if holdings else 0,
    )
    held = [book.positions if book else {} for book in (orders, executions, holdings)]
    for symbol in sorted({symbol for positions in held for symbol in positions}):
        at = [positions.get(symbol, _ZERO) for positions in held]
        check(f"position in {symbol}", oms=at[0], brokers=at[1], treasury=at[2])
    check(
        "cash moved by trading",
        oms=orders.cash_change if orders else _ZERO,
        brokers=executions.cash_change if executions else _ZERO,
        treasury=holdings.cash - holdings.opening_cash if holdings else _ZERO,
    )
    if holdings is not None:
        value = sum((quantity * holdings.marks[symbol] for symbol, quantity in holdings.positions.items()), _ZERO)
        check("nav against cash and positions", nav=holdings.nav, sum=holdings.cash + value)
        profit = holdings.realised_pnl + holdings.unrealised_pnl - holdings.fees
        check("nav against opening cash and profit", nav=holdings.nav, sum=holdings.opening_cash + profit)
    return found
