// A log without a library, for the process that must stay small: warnings and errors as lines, and after a bound no more, because the
// keeper's own log file is only cut at its start.

import type { Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/failure.ts';
import type { Log } from '../sys/log.ts';

const MAX_LINES = 2000;

export function createPlainLog(write: (line: string) => void, clock: Clock): Log {
  let left = MAX_LINES;
  const say =
    (level: string, bound: Readonly<Record<string, unknown>>) =>
    (fields: Readonly<Record<string, unknown>>, message: string): void => {
      if (left <= 0) return;
      left -= 1;
      const { error, ...rest } = { ...bound, ...fields };
      const cause = error === undefined ? {} : { error: messageOf(error).slice(0, 2000) };
      write(`${JSON.stringify({ time: new Date(clock.now()).toISOString(), level, message, ...rest, ...cause })}\n`);
      if (left === 0) write('{"message":"no more is written here until the next start"}\n');
    };
  const create = (bound: Readonly<Record<string, unknown>>): Log => ({
    debug: () => undefined,
    info: () => undefined,
    warn: say('warn', bound),
    error: say('error', bound),
    child: (fields) => create({ ...bound, ...fields }),
  });
  return create({});
}
