// A reporter for node:test beside the readable one: how many tests ran, and each skip with its reason, as one JSON value at the end.

import { relative } from 'node:path';
import type { TestEvent } from 'node:test/reporters';

export interface TestReport {
  /** Tests that really ran, whatever their outcome; suites and empty files are none. */
  readonly ran: number;
  readonly skipped: readonly { readonly file: string; readonly name: string; readonly reason: string }[];
}

/** node:test takes a reporter from the default export of its file. */
// eslint-disable-next-line import/no-default-export
export default async function* report(events: AsyncIterable<TestEvent>): AsyncGenerator<string, void> {
  let ran = 0;
  const skipped: { file: string; name: string; reason: string }[] = [];
  for await (const event of events) {
    if (event.type !== 'test:pass' && event.type !== 'test:fail') continue;
    const { name, file, skip, details } = event.data;
    if (skip !== undefined && skip !== false) {
      skipped.push({ file: relative(process.cwd(), file ?? ''), name, reason: typeof skip === 'string' ? skip : 'no reason given' });
      continue;
    }
    // A file without tests is reported as a test of its own name.
    if (details.type !== 'suite' && file !== name && !(file ?? '').endsWith(`/${name}`)) ran += 1;
  }
  yield JSON.stringify({ ran, skipped } satisfies TestReport);
}
