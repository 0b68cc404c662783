"""Figures of a portfolio, a limit that is broken, an emergency stop, and what a crash would cost."""

import math

from exporter.risk import (
    Book,
    EmergencyStop,
    Evaluation,
    LimitedFigures,
    LimitKind,
    LimitMonitor,
    Market,
    Portfolio,
    PriceHistory,
    RiskLimits,
    StopRule,
    StressTestEngine,
    TailKey,
)

book = Book([Portfolio("main", {"KRW-BTC": 0.5, "KRW-ETH": 10.0}, cash=20_000_000)])
history = PriceHistory(500, 60_000, book.symbols)
prices = {}
for minute in range(500):
    swing = 1 + 0.01 * math.sin(minute / 7) + 0.003 * math.sin(minute * 1.7)
    prices = {"KRW-BTC": 100_000_000 * swing, "KRW-ETH": 4_000_000 * swing**1.5}
    history.sample(prices, minute * 60_000)

market = Market(book.prices(prices), history.prices(book.symbols))
risk = Evaluation(book, market).portfolios()["main"]
print(f"VaR 99 % of a minute: {risk.var[TailKey('historical', 0.99)].value:,.0f}, HHI {risk.hhi.value:.2f}")

limits = LimitMonitor(RiskLimits(total=80_000_000))
changes = limits.check(LimitedFigures({}, total=risk.total), now_ms=0)
stop = EmergencyStop(StopRule(limits=(LimitKind.TOTAL,)))
fired = stop.update(stop.reasons([change.key.kind for change in changes], []), now_ms=0)
if fired is not None:
    print(f"{len(changes)} limit broken, stop {fired.number}: {', '.join(fired.reasons)}")

crash = StressTestEngine().run(book, market)["main"]["market_crash"]
print(f"a crash of 20 % costs {crash.loss.value:,.0f}")
