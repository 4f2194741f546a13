// Amounts of memory, disk and CPU as people write them. What is printed parses back to the same number.

const BYTE_UNITS: ReadonlyMap<string, number> = new Map([
  ['', 1],
  ['k', 1e3],
  ['K', 1e3],
  ['M', 1e6],
  ['G', 1e9],
  ['T', 1e12],
  ['Ki', 2 ** 10],
  ['Mi', 2 ** 20],
  ['Gi', 2 ** 30],
  ['Ti', 2 ** 40],
]);

const PRINTED_UNITS: readonly (readonly [string, number])[] = [
  ['Ti', 2 ** 40],
  ['Gi', 2 ** 30],
  ['Mi', 2 ** 20],
  ['Ki', 2 ** 10],
];

const BYTES = /^(\d{1,16}(?:\.\d{1,9})?)(k|K|M|G|T|Ki|Mi|Gi|Ti)?[bB]?$/u;
const CPU = /^(\d{1,6}(?:\.\d{1,3})?|\d{1,9}m)$/u;

/** `256Mi`, `1.5G`, `1048576` → whole bytes; null where the text is no amount. Ki, Mi, Gi, Ti are powers of 1024; k, M, G, T of 1000. */
export function parseBytes(text: string): number | null {
  const match = BYTES.exec(text.trim());
  if (match === null) return null;
  const unit = BYTE_UNITS.get(match[2] ?? '');
  if (unit === undefined) return null;
  const bytes = Math.round(Number(match[1]) * unit);
  return Number.isSafeInteger(bytes) ? bytes : null;
}

/** Bytes in the largest binary unit that divides them: 268435456 → `256Mi`, 1000 → `1000`. Exact. */
export function formatBytes(bytes: number): string {
  if (bytes > 0) {
    for (const [unit, size] of PRINTED_UNITS) if (bytes % size === 0) return `${bytes / size}${unit}`;
  }
  return String(bytes);
}

/** `0.5`, `2`, `500m` → cores, in steps of a thousandth; null where the text is no amount. */
export function parseCpu(text: string): number | null {
  const trimmed = text.trim();
  if (!CPU.test(trimmed)) return null;
  return trimmed.endsWith('m') ? Number(trimmed.slice(0, -1)) / 1000 : Number(trimmed);
}

/** Cores as a decimal number: 0.5 → `0.5`. */
export function formatCpu(cores: number): string {
  return String(Math.round(cores * 1000) / 1000);
}
