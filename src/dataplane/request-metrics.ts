// Counters of a proxy in the text form of Prometheus. A request counts on a handle that was looked up once for its labels, by plain
// additions. The number of series is bounded: labels come from the route table, those of versions that nobody asks for any more
// make room, and what comes beyond is counted under `other`.

const BUCKETS_MS = [1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000] as const;
const MAX_SERIES = 2_000;
/** A series that was not used while the numbers were asked for so often may make room for another. */
const KEPT_SCRAPES = 40;
/** Of one series; a status beyond them counts by its class. Apps choose what they answer. */
const MAX_CODES = 24;

/** The same names in the same order for every request of a proxy. */
export type Labels = Readonly<Record<string, string>>;

class Histogram {
  readonly buckets = new Float64Array(BUCKETS_MS.length + 1);
  sumMs = 0;

  add(ms: number): void {
    let bucket = 0;
    while (bucket < BUCKETS_MS.length && ms > (BUCKETS_MS[bucket] ?? 0)) bucket += 1;
    this.buckets[bucket] = (this.buckets[bucket] ?? 0) + 1;
    this.sumMs += ms;
  }
}

/** The numbers of one Route and version. */
export class MetricsHandle {
  /** False: it made room for another one; ask for a new handle. */
  live = true;
  /** How often the numbers had been asked for when it was last used. */
  seen = 0;
  readonly labels: string;
  /** By status; 0: the client left before an answer; 1–5: a class. */
  readonly codes = new Map<number, number>();
  readonly durations = new Histogram();
  readonly firstBytes = new Histogram();
  failures = 0;
  retries = 0;
  bytesIn = 0;
  bytesOut = 0;
  readonly #asked: { readonly times: number };

  constructor(labels: Labels, asked: { readonly times: number }) {
    this.labels = labelText(labels);
    this.#asked = asked;
    this.seen = asked.times;
  }

  /**
   * @param firstByteMs null: no target has answered.
   * @param failed the target failed the request.
   */
  observe(
    status: number | null,
    durationMs: number,
    firstByteMs: number | null,
    attempts: number,
    failed: boolean,
    bytesIn: number,
    bytesOut: number,
  ): void {
    this.seen = this.#asked.times;
    const exact = status ?? 0;
    const before = this.codes.get(exact);
    if (before !== undefined) this.codes.set(exact, before + 1);
    else this.#firstOf(exact);
    this.durations.add(durationMs);
    if (firstByteMs !== null) this.firstBytes.add(firstByteMs);
    if (failed) this.failures += 1;
    if (attempts > 1) this.retries += attempts - 1;
    this.bytesIn += bytesIn;
    this.bytesOut += bytesOut;
  }

  #firstOf(exact: number): void {
    const code = this.codes.size < MAX_CODES ? exact : Math.floor(exact / 100);
    this.codes.set(code, (this.codes.get(code) ?? 0) + 1);
  }
}

export interface Gauge {
  readonly name: string;
  readonly help: string;
  readonly value: number;
}

/** Its name ends with `_total`. */
type Counter = Gauge;

export interface RequestMetrics {
  /** To be kept by whoever asks. */
  handle(labels: Labels): MetricsHandle;
  /** For requests that found nothing. */
  readonly noRoute: MetricsHandle;
  /** A message that was no HTTP request. */
  refused(status: number): void;
  text(gauges: readonly Gauge[], counters?: readonly Counter[]): string;
}

/**
 * @param prefix of every name, such as `libra_edge`.
 * @param names of the labels.
 */
export function createRequestMetrics(prefix: string, names: readonly string[]): RequestMetrics {
  const allOf = (value: string): Labels => Object.fromEntries(names.map((name) => [name, value]));
  const asked = { times: 0 };
  let swept = -1;
  const series = new Map<string, MetricsHandle>();
  const refused = new Map<number, number>();

  /** Series that were not used for long make room. Looked for at most once between two scrapes. */
  const makeRoom = (): void => {
    if (swept === asked.times) return;
    swept = asked.times;
    for (const [key, handle] of series) {
      if (asked.times - handle.seen <= KEPT_SCRAPES || handle === noRoute || handle === other) continue;
      handle.live = false;
      series.delete(key);
    }
  };
  const make = (labels: Labels): MetricsHandle => {
    const handle = new MetricsHandle(labels, asked);
    series.set(handle.labels, handle);
    return handle;
  };
  const noRoute = make(allOf(''));
  const other = new MetricsHandle(allOf('other'), asked);

  return {
    noRoute,
    handle: (labels) => {
      const found = series.get(labelText(labels));
      if (found !== undefined) return found;
      if (series.size >= MAX_SERIES) makeRoom();
      if (series.size < MAX_SERIES) return make(labels);
      series.set(other.labels, other);
      return other;
    },
    refused: (status) => {
      refused.set(status, (refused.get(status) ?? 0) + 1);
    },
    text: (gauges, counters = []) => {
      asked.times += 1;
      const lines: string[] = [];
      const used = [...series.values()].filter((entry) => entry.codes.size > 0);
      const family = (name: string, type: string, help: string): void => {
        lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
      };
      const perSeries = (name: string, help: string, value: (entry: MetricsHandle) => number): void => {
        family(name, 'counter', help);
        for (const entry of used) lines.push(`${name}{${entry.labels}} ${value(entry)}`);
      };
      family(`${prefix}_requests_total`, 'counter', 'Requests by status; none: the client left first.');
      for (const entry of used) {
        for (const [code, count] of entry.codes) lines.push(`${prefix}_requests_total{${entry.labels},code="${codeText(code)}"} ${count}`);
      }
      family(
        `${prefix}_request_duration_seconds`,
        'histogram',
        'From the request head to the end of the answer; of upgraded streams, to its beginning.',
      );
      for (const entry of used) pushHistogram(lines, `${prefix}_request_duration_seconds`, entry.labels, entry.durations);
      family(`${prefix}_first_byte_seconds`, 'histogram', 'From the request head to the head of the answer, where a target gave one.');
      for (const entry of used) pushHistogram(lines, `${prefix}_first_byte_seconds`, entry.labels, entry.firstBytes);
      perSeries(`${prefix}_upstream_failures_total`, 'Requests that an Instance failed.', (entry) => entry.failures);
      perSeries(`${prefix}_retries_total`, 'Tries beyond the first.', (entry) => entry.retries);
      perSeries(`${prefix}_received_bytes_total`, 'Request bodies and upgraded streams.', (entry) => entry.bytesIn);
      perSeries(`${prefix}_sent_bytes_total`, 'Answer bodies and upgraded streams.', (entry) => entry.bytesOut);
      family(`${prefix}_refused_total`, 'counter', 'Messages that were not valid HTTP, too large or too slow.');
      for (const [status, count] of refused) lines.push(`${prefix}_refused_total{code="${status}"} ${count}`);
      const plain = (type: string, entries: readonly Gauge[]): void => {
        for (const { name, help, value } of entries) {
          family(name, type, help);
          lines.push(`${name} ${value}`);
        }
      };
      plain('counter', counters);
      plain('gauge', gauges);
      return `${lines.join('\n')}\n`;
    },
  };
}

function pushHistogram(lines: string[], name: string, labels: string, { buckets, sumMs }: Histogram): void {
  let below = 0;
  BUCKETS_MS.forEach((limit, index) => {
    below += buckets[index] ?? 0;
    lines.push(`${name}_bucket{${labels},le="${limit / 1000}"} ${below}`);
  });
  below += buckets[BUCKETS_MS.length] ?? 0;
  lines.push(`${name}_bucket{${labels},le="+Inf"} ${below}`, `${name}_sum{${labels}} ${sumMs / 1000}`, `${name}_count{${labels}} ${below}`);
}

function codeText(code: number): string {
  if (code === 0) return 'none';
  return code < 10 ? `${code}xx` : String(code);
}

function labelText(labels: Labels): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}="${escape(value)}"`)
    .join(',');
}

function escape(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
