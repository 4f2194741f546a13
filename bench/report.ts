// How every benchmark speaks: a table for people, one JSON value with --json, and the target beside the figure where there is one.

export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** The value must not be above it. */
  readonly target?: number;
  /** The value must not be below it. */
  readonly least?: number;
}

export interface Report {
  readonly bench: string;
  readonly figures: readonly Figure[];
}

function formatValue(value: number): string {
  if (value >= 1000) return Math.round(value).toLocaleString('en');
  return Number.isInteger(value) ? String(value) : value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

export function meetsTarget({ value, target = Infinity, least = -Infinity }: Figure): boolean {
  return value <= target && value >= least;
}

function targetText(figure: Figure): string {
  const { target, least } = figure;
  const met = meetsTarget(figure);
  const above = target === undefined ? '' : `  ${met ? 'within' : 'MISSES'} ${formatValue(target)}`;
  return least === undefined ? above : `${above}  ${met ? 'met' : 'NOT MET'}: at least ${formatValue(least)}`;
}

/** The lines of a report. */
export function formatReport(report: Report): string {
  const width = Math.max(0, ...report.figures.map((figure) => figure.name.length));
  const lines = report.figures.map((figure) => {
    return `  ${figure.name.padEnd(width)}  ${formatValue(figure.value).padStart(9)} ${figure.unit.padEnd(4)}${targetText(figure)}`.trimEnd();
  });
  return `${report.bench}\n${lines.join('\n')}`;
}

/** Measures and prints. A missed target gives exit code 1 where --check is given. */
export async function runBench(measure: () => Promise<Report>): Promise<void> {
  const report = await measure();
  console.log(process.argv.includes('--json') ? JSON.stringify(report) : formatReport(report));
  if (process.argv.includes('--check') && !report.figures.every(meetsTarget)) process.exitCode = 1;
}

/** The value below which the given share lies. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}
