// What programs and machines take, as counters that only grow and as steps of a history. What cannot be told is absent or null, never 0.

export interface NetworkBytes {
  readonly receivedBytes: number;
  readonly sentBytes: number;
}

export interface DiskBytes {
  readonly readBytes: number;
  readonly writtenBytes: number;
}

/** What is kept of one step, in this order: averages over it, and of memory the most. */
export const POINT_VALUES = ['cpu', 'memoryBytes', 'receivedPerSecond', 'sentPerSecond', 'readPerSecond', 'writtenPerSecond'] as const;

/** null: it could not be told. CPU in cores, traffic in bytes per second. */
export type PointValues = Readonly<Record<(typeof POINT_VALUES)[number], number | null>>;

export interface UsagePoint extends PointValues {
  /** Beginning of the step, UTC milliseconds. */
  readonly atMs: number;
}

/** A point as it is stored and sent: the time, then the values in order. */
export type PackedPoint = readonly (number | null)[];

export function packPoint(point: UsagePoint): PackedPoint {
  return [point.atMs, ...POINT_VALUES.map((name) => point[name])];
}

/** null where it is no packed point. */
export function unpackPoint(value: unknown): UsagePoint | null {
  if (!Array.isArray(value) || value.length !== POINT_VALUES.length + 1) return null;
  const [atMs, cpu, memoryBytes, receivedPerSecond, sentPerSecond, readPerSecond, writtenPerSecond] = value.map(amountOf);
  if (typeof atMs !== 'number') return null;
  const known = (amount: number | null | undefined): number | null => amount ?? null;
  return {
    atMs,
    cpu: known(cpu),
    memoryBytes: known(memoryBytes),
    receivedPerSecond: known(receivedPerSecond),
    sentPerSecond: known(sentPerSecond),
    readPerSecond: known(readPerSecond),
    writtenPerSecond: known(writtenPerSecond),
  };
}

const amountOf = (value: unknown): number | null => (typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : null);
