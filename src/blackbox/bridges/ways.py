"""Real bridges, unchanged, beside a real Yakuba: usage: ways.py YAKUBA [WAY…]"""

import asyncio
import pathlib
import sys
import tempfile
import traceback

import encrypted
import over_irc
import over_lines
from stage import fail

WAYS = {
    "heisenbridge": over_irc.way,
    "mautrix": encrypted.way,
    "mautrix-msc4190": encrypted.with_devices,
    "matrix-appservice-bridge": over_lines.way,
}


async def go(name, program):
    programs = []
    with tempfile.TemporaryDirectory() as directory:
        try:
            await WAYS[name](program, pathlib.Path(directory), programs)
            return True
        except Exception as error:  # whatever fails, the others are tried, and the status tells
            traceback.print_exc()
            fail(name, error)
            for of in programs:
                print(f"--- {of.log.name}\n{of.log.read_text(errors='replace')[-3000:]}", file=sys.stderr)
            return False
        finally:
            for of in reversed(programs):
                await of.kill()


async def main():
    program, wanted = sys.argv[1], sys.argv[2:] or list(WAYS)
    went = [await go(name, program) for name in wanted]
    return 0 if all(went) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
