"""What ccxt and ccxt.pro make of messages of exchanges: a list of `[exchange, method, arguments]` on stdin, as JSON.

Needs no network: only the functions that parse are called. Prints the list of what they return.
"""

from __future__ import annotations

import asyncio
import json
import sys

from ccxt import pro


async def main() -> None:
    """Parse each message by its exchange."""
    calls = json.load(sys.stdin)
    exchanges = {name: getattr(pro, name)() for name, _, _ in calls}
    found = [getattr(exchanges[name], method)(*arguments) for name, method, arguments in calls]
    for exchange in exchanges.values():
        await exchange.close()
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main())
