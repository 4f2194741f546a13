// IP addresses and ranges (CIDR), where node:net is not at hand. Pure.

/** Eight groups of 16 bits; IPv4 as `::ffff:a.b.c.d`. */
type Groups = readonly number[];

const V4_BITS = 96;

function parseV4(text: string): readonly number[] | null {
  const parts = text.split('.');
  if (parts.length !== 4 || !parts.every((part) => /^(?:0|[1-9]\d{0,2})$/u.test(part) && Number(part) < 256)) return null;
  const [a = 0, b = 0, c = 0, d = 0] = parts.map(Number);
  return [a * 256 + b, c * 256 + d];
}

/** Null where it is no address. A zone (`%eth0`) is none. */
export function parseAddress(text: string): Groups | null {
  if (!text.includes(':')) {
    const v4 = parseV4(text);
    return v4 === null ? null : [0, 0, 0, 0, 0, 0xffff, ...v4];
  }
  const halves = text.split('::');
  if (halves.length > 2) return null;
  const groupsOf = (half: string): number[] | null => {
    if (half === '') return [];
    const groups: number[] = [];
    const parts = half.split(':');
    for (const [index, part] of parts.entries()) {
      const v4 = index === parts.length - 1 && part.includes('.') ? parseV4(part) : null;
      if (v4 !== null) groups.push(...v4);
      else if (/^[0-9a-f]{1,4}$/iu.test(part)) groups.push(Number.parseInt(part, 16));
      else return null;
    }
    return groups;
  };
  const head = groupsOf(halves[0] ?? '');
  const tail = halves.length === 2 ? groupsOf(halves[1] ?? '') : [];
  if (head === null || tail === null) return null;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return null;
  return [...head, ...Array.from({ length: missing }, () => 0), ...tail];
}

interface Range {
  readonly groups: Groups;
  readonly bits: number;
}

function parseRange(text: string): Range | null {
  const [address = '', length, ...more] = text.split('/');
  const groups = parseAddress(address);
  if (groups === null || more.length > 0) return null;
  const from = address.includes(':') ? 0 : V4_BITS;
  if (length === undefined) return { groups, bits: 128 };
  if (!/^(?:0|[1-9]\d{0,2})$/u.test(length) || Number(length) + from > 128) return null;
  return { groups, bits: Number(length) + from };
}

export function isRange(text: string): boolean {
  return parseRange(text) !== null;
}

function contains({ groups, bits }: Range, address: Groups): boolean {
  const whole = bits >> 4;
  for (let index = 0; index < whole; index += 1) if (groups[index] !== address[index]) return false;
  const rest = 16 - (bits & 15);
  return rest === 16 || (groups[whole] ?? 0) >> rest === (address[whole] ?? 0) >> rest;
}

/** Whether an address is in one of the ranges. What is no range is in none, and what is no address is in no range. */
export function createRanges(texts: readonly string[]): (address: string) => boolean {
  const ranges = texts.map(parseRange).filter((range) => range !== null);
  return (text) => {
    const address = parseAddress(text);
    return address !== null && ranges.some((range) => contains(range, address));
  };
}

/** Whom limits count as one: an address of IPv4, or the /64 of one of IPv6, which a client has to itself and may go through at will. */
export function networkOf(text: string): string {
  if (!text.includes(':')) return text;
  const groups = parseAddress(text);
  if (groups === null) return text;
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, high = 0, low = 0] = groups;
  if (a === 0 && b === 0 && c === 0 && d === 0 && e === 0 && f === 0xffff) return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
  return `${[a, b, c, d].map((group) => group.toString(16)).join(':')}::/64`;
}
