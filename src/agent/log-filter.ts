// Lines of an Instance's output that were asked for. They are chosen where they are kept, so that only they cross the network.

import type { LogFilter } from '../api/agent.ts';
import type { LogLine } from '../driver/contract.ts';
import { compilePattern, loadPatterns } from '../model/patterns.ts';

/** What the last lines may take while they are gathered. */
const GATHERED_BYTES = 8 * 1024 * 1024;

export async function* linesThatPass(lines: AsyncIterable<LogLine>, { sinceMs, untilMs, grep }: LogFilter): AsyncGenerator<LogLine> {
  if (grep !== undefined) await loadPatterns();
  const pattern = grep === undefined ? null : compilePattern(grep);
  for await (const line of lines) {
    // No end at the first that is too late: lines of two streams lie beside each other only about in order.
    if (sinceMs !== undefined && line.atMs < sinceMs) continue;
    if (untilMs !== undefined && line.atMs > untilMs) continue;
    if (pattern === null || pattern.occursIn(line.text)) yield line;
  }
}

/** The last `count` of them, fewer where they are large. */
export async function* lastLines(lines: AsyncIterable<LogLine>, count: number, maxBytes = GATHERED_BYTES): AsyncGenerator<LogLine> {
  let gathered: LogLine[] = [];
  let first = 0;
  let bytes = 0;
  for await (const line of lines) {
    gathered.push(line);
    bytes += line.text.length;
    while (gathered.length - first > count || (bytes > maxBytes && gathered.length - first > 1)) {
      bytes -= gathered[first]?.text.length ?? 0;
      first += 1;
    }
    // Taken off in one go now and then: one at a time would copy the rest each time.
    if (first > count + 1000) {
      gathered = gathered.slice(first);
      first = 0;
    }
  }
  yield* gathered.slice(first);
}
