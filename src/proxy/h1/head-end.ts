// Where a head ends. Heads are short and every message has one: a loop over the bytes is done before a search has been set up.

const CR = 13;
const LF = 10;

/** Index of the first CR LF CR LF at or behind `from`; -1 where there is none. */
export function headEnd(data: Uint8Array, from: number): number {
  // The last of the four stands at least here; from any other byte the next place where one could end is four further on.
  let at = from + 3;
  while (at < data.length) {
    const byte = data[at];
    if (byte === LF) {
      if (data[at - 1] === CR && data[at - 2] === LF && data[at - 3] === CR) return at - 3;
      at += 2;
    } else at += byte === CR ? 1 : 4;
  }
  return -1;
}
