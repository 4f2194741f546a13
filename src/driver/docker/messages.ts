// What the engine says while it works on something: JSON, a message on each line. Whatever is none is passed over.

import type { IncomingMessage } from 'node:http';

const MAX_LINE_CHARACTERS = 1024 * 1024;

/** Messages of a stream of JSON, one for each line. */
export async function* readMessages(source: IncomingMessage): AsyncGenerator<unknown> {
  let rest = '';
  const parse = (line: string): unknown[] => {
    if (line.trim() === '') return [];
    try {
      return [JSON.parse(line)];
    } catch {
      return [];
    }
  };
  for await (const chunk of source.setEncoding('utf8')) {
    const lines = `${rest}${String(chunk)}`.split('\n');
    rest = (lines.pop() ?? '').slice(-MAX_LINE_CHARACTERS);
    for (const line of lines) yield* parse(line);
  }
  yield* parse(rest);
}
