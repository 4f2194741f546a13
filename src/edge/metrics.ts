// Counters of the Edge in the text form of Prometheus. The number of series is bounded: labels come from the route table, and what
// comes beyond the bound is counted under `other`.

const BUCKETS_MS = [1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000] as const;
const MAX_SERIES = 5_000;

export interface Labels {
  readonly app: string;
  readonly environment: string;
  readonly entrypoint: string;
}

const OTHER: Labels = { app: 'other', environment: 'other', entrypoint: 'other' };
/** Requests that met no Route. */
export const NO_ROUTE: Labels = { app: '', environment: '', entrypoint: '' };

interface Series {
  readonly labels: Labels;
  /** By first digit of the status; 0: the client left before an answer. */
  readonly classes: Map<number, number>;
  readonly buckets: number[];
  sumMs: number;
  count: number;
  failures: number;
  retries: number;
  bytesIn: number;
  bytesOut: number;
}

export interface Observation {
  readonly labels: Labels;
  readonly status: number | null;
  readonly durationMs: number;
  readonly attempts: number;
  /** The target failed the request. */
  readonly failed: boolean;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

export interface Gauge {
  readonly name: string;
  readonly help: string;
  readonly value: number;
}

export interface EdgeMetrics {
  observe(observation: Observation): void;
  /** A message that was no HTTP request. */
  refused(status: number): void;
  text(gauges: readonly Gauge[]): string;
}

export function createEdgeMetrics(): EdgeMetrics {
  const series = new Map<string, Series>();
  const refused = new Map<number, number>();

  const seriesOf = (labels: Labels): Series => {
    const key = `${labels.app}\n${labels.environment}\n${labels.entrypoint}`;
    const found = series.get(key);
    if (found !== undefined) return found;
    if (series.size >= MAX_SERIES && labels !== OTHER) return seriesOf(OTHER);
    const made: Series = {
      labels,
      classes: new Map(),
      buckets: BUCKETS_MS.map(() => 0),
      sumMs: 0,
      count: 0,
      failures: 0,
      retries: 0,
      bytesIn: 0,
      bytesOut: 0,
    };
    series.set(key, made);
    return made;
  };

  return {
    observe: (observation) => {
      const entry = seriesOf(observation.labels);
      const statusClass = observation.status === null ? 0 : Math.floor(observation.status / 100);
      entry.classes.set(statusClass, (entry.classes.get(statusClass) ?? 0) + 1);
      entry.count += 1;
      entry.sumMs += observation.durationMs;
      const bucket = BUCKETS_MS.findIndex((limit) => observation.durationMs <= limit);
      if (bucket !== -1) entry.buckets[bucket] = (entry.buckets[bucket] ?? 0) + 1;
      if (observation.failed) entry.failures += 1;
      entry.retries += Math.max(0, observation.attempts - 1);
      entry.bytesIn += observation.bytesIn;
      entry.bytesOut += observation.bytesOut;
    },
    refused: (status) => {
      refused.set(status, (refused.get(status) ?? 0) + 1);
    },
    text: (gauges) => {
      const lines: string[] = [];
      const family = (name: string, type: string, help: string): void => {
        lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
      };
      const perSeries = (name: string, help: string, value: (entry: Series) => number): void => {
        family(name, 'counter', help);
        for (const entry of series.values()) lines.push(`${name}{${labelText(entry.labels)}} ${value(entry)}`);
      };
      family('libra_edge_requests_total', 'counter', 'Requests by class of the status; none: the client left first.');
      for (const entry of series.values()) {
        for (const [statusClass, count] of entry.classes) {
          const code = statusClass === 0 ? 'none' : `${statusClass}xx`;
          lines.push(`libra_edge_requests_total{${labelText(entry.labels)},code="${code}"} ${count}`);
        }
      }
      family('libra_edge_request_duration_seconds', 'histogram', 'From the request head to the end of the answer.');
      for (const entry of series.values()) {
        let below = 0;
        BUCKETS_MS.forEach((limit, index) => {
          below += entry.buckets[index] ?? 0;
          lines.push(`libra_edge_request_duration_seconds_bucket{${labelText(entry.labels)},le="${limit / 1000}"} ${below}`);
        });
        lines.push(
          `libra_edge_request_duration_seconds_bucket{${labelText(entry.labels)},le="+Inf"} ${entry.count}`,
          `libra_edge_request_duration_seconds_sum{${labelText(entry.labels)}} ${entry.sumMs / 1000}`,
          `libra_edge_request_duration_seconds_count{${labelText(entry.labels)}} ${entry.count}`,
        );
      }
      perSeries('libra_edge_upstream_failures_total', 'Requests that an Instance failed.', (entry) => entry.failures);
      perSeries('libra_edge_retries_total', 'Tries beyond the first.', (entry) => entry.retries);
      perSeries('libra_edge_received_bytes_total', 'Request bodies and upgraded streams.', (entry) => entry.bytesIn);
      perSeries('libra_edge_sent_bytes_total', 'Answer bodies and upgraded streams.', (entry) => entry.bytesOut);
      family('libra_edge_refused_total', 'counter', 'Messages that were not valid HTTP, too large or too slow.');
      for (const [status, count] of refused) lines.push(`libra_edge_refused_total{code="${status}"} ${count}`);
      for (const gauge of gauges) {
        family(gauge.name, 'gauge', gauge.help);
        lines.push(`${gauge.name} ${gauge.value}`);
      }
      return `${lines.join('\n')}\n`;
    },
  };
}

function labelText(labels: Labels): string {
  return `app="${escape(labels.app)}",environment="${escape(labels.environment)}",entrypoint="${escape(labels.entrypoint)}"`;
}

function escape(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
