// Splits a byte stream into lines of JSON with a bound on the line, so that no peer can make us buffer without end.

const NEWLINE = 0x0a;

export interface JsonLineReader {
  /** Feeds bytes; calls back for each complete line. */
  push(chunk: Uint8Array): void;
}

/**
 * @param limitBytes longest line that is accepted
 * @param onValue gets each parsed value
 * @param onBroken called once for a line that is too long or no JSON; nothing is read after it
 */
export function createJsonLineReader(
  limitBytes: number,
  onValue: (value: unknown) => void,
  onBroken: (why: string) => void,
): JsonLineReader {
  let parts: Buffer[] = [];
  let held = 0;
  let broken = false;
  const fail = (why: string): void => {
    broken = true;
    parts = [];
    onBroken(why);
  };
  const finish = (end: Buffer): void => {
    const line = parts.length === 0 ? end : Buffer.concat([...parts, end]);
    parts = [];
    held = 0;
    if (line.length === 0) return;
    let value: unknown;
    try {
      value = JSON.parse(line.toString('utf8'));
    } catch {
      fail('a line is not JSON');
      return;
    }
    onValue(value);
  };
  return {
    push: (bytes) => {
      let rest = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      while (rest.length > 0) {
        if (broken) return;
        const at = rest.indexOf(NEWLINE);
        const take = at === -1 ? rest.length : at;
        if (held + take > limitBytes) {
          fail(`a line is longer than ${limitBytes} bytes`);
          return;
        }
        if (at === -1) {
          // Copied: the socket may reuse its buffer.
          parts.push(Buffer.from(rest));
          held += rest.length;
          return;
        }
        finish(rest.subarray(0, at));
        rest = rest.subarray(at + 1);
      }
    },
  };
}
