// Reads a chunked body (RFC 9112 §7.1) as it arrives, strictly: a size is plain hexadecimal, extensions are read over only where they
// are well-formed and few, CRLF ends every line, and the trailer section is bounded.

import type { Fields } from '../fields.ts';
import { parseFieldLines } from './field-lines.ts';

const MAX_SIZE_DIGITS = 12;
/** Of all extensions of one body together: nobody needs them, and each costs more than it carries. */
const MAX_EXTENSION_BYTES = 1_024;
const MAX_TRAILER_BYTES = 8 * 1_024;
const EXTENSIONS =
  /^(?:;[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:=(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+|"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"))?)+$/u;

const CR = 13;
const LF = 10;
const SEMICOLON = 59;

type State = 'size' | 'extension' | 'size-lf' | 'data' | 'data-cr' | 'data-lf' | 'trailers' | 'done';

export class ChunkedReader {
  /** After push: where the piece of data begins and ends that it has found; equal where there is none. */
  pieceFrom = 0;
  pieceTo = 0;
  done = false;
  /** After `done`; null where there were none. */
  trailers: Fields | null = null;
  /** Why the body is not valid; nothing else counts then. */
  why: string | null = null;
  #state: State = 'size';
  #size = 0;
  #digits = 0;
  #left = 0;
  #text = '';
  #extensionBytes = 0;

  /** Reads from `at` to the next piece of data, to the end of the body, or to the end of the chunk. Returns where it stopped. */
  push(chunk: Buffer, at: number): number {
    this.pieceFrom = 0;
    this.pieceTo = 0;
    let index = at;
    while (index < chunk.length && !this.done && this.why === null) {
      if (this.#state === 'data') {
        const taken = Math.min(this.#left, chunk.length - index);
        this.pieceFrom = index;
        this.pieceTo = index + taken;
        this.#left -= taken;
        if (this.#left === 0) this.#state = 'data-cr';
        return index + taken;
      }
      this.#byte(chunk[index] ?? 0);
      index += 1;
    }
    return index;
  }

  #byte(code: number): void {
    switch (this.#state) {
      case 'size': {
        const value = hexValue(code);
        if (value !== -1) {
          this.#digits += 1;
          if (this.#digits > MAX_SIZE_DIGITS) this.why = 'a chunk size has too many digits';
          this.#size = this.#size * 16 + value;
        } else if (this.#digits === 0) this.why = 'a chunk has no size';
        else if (code === CR) this.#state = 'size-lf';
        else if (code === SEMICOLON) {
          this.#text = ';';
          this.#state = 'extension';
        } else this.why = 'a chunk size is no plain hexadecimal number';
        return;
      }
      case 'extension':
        this.#extensionBytes += 1;
        if (this.#extensionBytes > MAX_EXTENSION_BYTES) this.why = 'there are too many chunk extensions';
        else if (code !== CR) this.#text += String.fromCharCode(code);
        else if (EXTENSIONS.test(this.#text)) {
          this.#text = '';
          this.#state = 'size-lf';
        } else this.why = 'a chunk extension is not valid';
        return;
      case 'size-lf':
        if (code !== LF) this.why = 'a chunk size does not end with CRLF';
        else if (this.#size === 0) this.#state = 'trailers';
        else {
          this.#left = this.#size;
          this.#size = 0;
          this.#digits = 0;
          this.#state = 'data';
        }
        return;
      case 'data-cr':
        if (code !== CR) this.why = 'a chunk is longer than its size';
        else this.#state = 'data-lf';
        return;
      case 'data-lf':
        if (code !== LF) this.why = 'a chunk does not end with CRLF';
        else this.#state = 'size';
        return;
      case 'trailers':
        this.#trailerByte(code);
        return;
      case 'data':
      case 'done':
    }
  }

  #trailerByte(code: number): void {
    this.#text += String.fromCharCode(code);
    if (this.#text.length > MAX_TRAILER_BYTES) this.why = `the trailer section is longer than ${MAX_TRAILER_BYTES} bytes`;
    if (code !== LF) return;
    if (this.#text !== '\r\n' && !this.#text.endsWith('\r\n\r\n')) {
      if (!this.#text.endsWith('\r\n')) this.why = 'a trailer line does not end with CRLF';
      return;
    }
    this.done = true;
    this.#state = 'done';
    if (this.#text === '\r\n') return;
    const lines = parseFieldLines(this.#text, 0);
    this.why = lines.why;
    lines.fields.keep((name) => name.inTrailers);
    if (lines.fields.size > 0) this.trailers = lines.fields;
  }
}

function hexValue(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  if (code >= 65 && code <= 70) return code - 55;
  return code >= 97 && code <= 102 ? code - 87 : -1;
}
