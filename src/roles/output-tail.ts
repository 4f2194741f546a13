// The last words of a platform program that did not come up, from what the keeper pumped.

import { systemClock } from '../lib/clock.ts';
import { readLog } from '../sys/log-reader.ts';

export async function readTail(folder: string): Promise<string> {
  const lines: string[] = [];
  for await (const line of readLog(folder, { tail: 5, follow: false, signal: AbortSignal.timeout(2000), clock: systemClock }))
    lines.push(line.text);
  // It was started more than once, and said the same each time.
  return [...new Set(lines)].join(' ');
}
