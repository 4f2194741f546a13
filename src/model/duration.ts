// Spans of time as people write them. What is printed parses back to the same number.

const UNITS: readonly (readonly [string, number])[] = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1000],
  ['ms', 1],
];

const DURATION =
  /^(?:(\d{1,6})d)?(?:(\d{1,7}(?:\.\d{1,3})?)h)?(?:(\d{1,9}(?:\.\d{1,3})?)m)?(?:(\d{1,11}(?:\.\d{1,3})?)s)?(?:(\d{1,14})ms)?$/u;

/** `5s`, `1m30s`, `500ms`, `1.5h` → whole milliseconds; null where the text is no duration. A number without a unit is none, but for `0`. */
export function parseDurationMs(text: string): number | null {
  const trimmed = text.trim();
  if (trimmed === '0') return 0;
  const match = DURATION.exec(trimmed);
  if (trimmed === '' || match === null) return null;
  let totalMs = 0;
  for (const [index, [, unitMs]] of UNITS.entries()) totalMs += Number(match[index + 1] ?? 0) * unitMs;
  totalMs = Math.round(totalMs);
  return Number.isSafeInteger(totalMs) ? totalMs : null;
}

/** 90000 → `1m30s`; exact to the millisecond. */
export function formatDuration(durationMs: number): string {
  let rest = Math.max(0, Math.round(durationMs));
  if (rest === 0) return '0s';
  let text = '';
  for (const [unit, unitMs] of UNITS) {
    const count = Math.floor(rest / unitMs);
    if (count > 0) text += `${count}${unit}`;
    rest -= count * unitMs;
  }
  return text;
}
