// Server-sent events (WHATWG HTML §9.2) as text in and out, without any transport. The parser takes chunks cut anywhere, and an event
// that grows beyond its bound is refused instead of being kept.

import { Failure } from './failure.ts';

export interface SseEvent {
  /** `message` where none was named. */
  readonly event: string;
  /** The id given in this very event; null where it has none. */
  readonly id: string | null;
  readonly data: string;
}

export interface SseParser {
  /** The events that this chunk completes, in order. Throws `too_large` where one exceeds the bound. */
  push(chunk: Uint8Array): readonly SseEvent[];
}

/** Longest event that is taken by default, UTF-16 units. */
const SSE_MAX_EVENT_LENGTH = 8 * 1024 * 1024;

const LINE_END = /\r\n|\r|\n/u;

/** One event as text. Line ends inside data become `\n`; an id or name must not hold line ends or NUL. */
export function encodeSse(event: {
  readonly event?: string | undefined;
  readonly id?: string | null | undefined;
  readonly data: string;
}): string {
  let text = '';
  if (event.event !== undefined && event.event !== 'message') text += `event: ${singleLine(event.event)}\n`;
  if (event.id !== undefined && event.id !== null) text += `id: ${singleLine(event.id)}\n`;
  for (const line of event.data.split(LINE_END)) text += `data: ${line}\n`;
  return `${text}\n`;
}

/** A line that receivers skip; keeps a connection alive. */
export function encodeSseComment(comment: string): string {
  return `: ${singleLine(comment)}\n\n`;
}

function singleLine(value: string): string {
  // oxlint-disable-next-line no-control-regex -- NUL is exactly what the format forbids
  if (/[\r\n\0]/u.test(value)) {
    throw new Failure('internal', { message: 'An id or name of a server-sent event must be one line without NUL.' });
  }
  return value;
}

export function createSseParser(options: { readonly maxEventLength?: number } = {}): SseParser {
  const limit = options.maxEventLength ?? SSE_MAX_EVENT_LENGTH;
  const decoder = new TextDecoder('utf-8'); // drops a leading BOM, as the format wants
  /** The unfinished line, in the pieces that it came in. */
  let pieces: string[] = [];
  let length = 0;
  let afterReturn = false;
  let data: string[] = [];
  let event = '';
  let id: string | null = null;

  const grow = (by: number): void => {
    length += by;
    if (length > limit) throw new Failure('too_large', { message: `An event of the stream is longer than ${limit} characters.` });
  };

  const field = (line: string): void => {
    if (line.startsWith(':')) return;
    const colon = line.indexOf(':');
    const name = colon === -1 ? line : line.slice(0, colon);
    const rest = colon === -1 ? '' : line.slice(colon + 1);
    const value = rest.startsWith(' ') ? rest.slice(1) : rest;
    if (name === 'data') data.push(value);
    else if (name === 'event') event = value;
    else if (name === 'id' && !value.includes('\0')) id = value;
  };

  const finish = (events: SseEvent[]): void => {
    if (data.length > 0) events.push({ event: event === '' ? 'message' : event, id, data: data.join('\n') });
    data = [];
    event = '';
    id = null;
    length = 0;
  };

  return {
    push: (chunk) => {
      const text = decoder.decode(chunk, { stream: true });
      const events: SseEvent[] = [];
      let start = 0;
      if (afterReturn && text !== '') {
        if (text.startsWith('\n')) start = 1;
        afterReturn = false;
      }
      const ends = /\r\n|\r|\n/gu;
      ends.lastIndex = start;
      for (let match = ends.exec(text); match !== null; match = ends.exec(text)) {
        grow(match.index - start);
        pieces.push(text.slice(start, match.index));
        const line = pieces.length === 1 ? (pieces[0] ?? '') : pieces.join('');
        pieces = [];
        start = ends.lastIndex;
        afterReturn = match[0] === '\r' && start === text.length;
        if (line === '') finish(events);
        else field(line);
      }
      if (start < text.length) {
        grow(text.length - start);
        pieces.push(text.slice(start));
      }
      return events;
    },
  };
}
