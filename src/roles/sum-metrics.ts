// One page of metrics from those of several workers: counters and histograms are added up, a gauge keeps the worker that says it, for a
// sum of two positions or of two yes means nothing. Pure.

interface Family {
  /** Its HELP and TYPE lines. */
  readonly head: string[];
  readonly isGauge: boolean;
  /** By name with labels, in the order of the first page. */
  readonly samples: Map<string, number>;
}

/** @param pages Prometheus text of each worker, by its name; '' where one did not answer. */
export function sumMetrics(pages: ReadonlyMap<string, string>): string {
  const families = new Map<string, Family>();
  for (const [worker, page] of pages) {
    let head: string[] = [];
    let current: Family | null = null;
    for (const line of page.split('\n')) {
      if (line === '') continue;
      if (line.startsWith('# HELP ')) {
        head = [line];
        continue;
      }
      if (line.startsWith('# TYPE ')) {
        const [, , name = '', type] = line.split(' ');
        current = families.get(name) ?? { head: [...head, line], isGauge: type === 'gauge', samples: new Map() };
        families.set(name, current);
        continue;
      }
      const space = line.lastIndexOf(' ');
      if (current === null || space === -1) continue;
      const key = current.isGauge ? withWorker(line.slice(0, space), worker) : line.slice(0, space);
      current.samples.set(key, (current.samples.get(key) ?? 0) + Number(line.slice(space + 1)));
    }
  }
  const lines: string[] = [];
  for (const { head, samples } of families.values()) {
    lines.push(...head);
    for (const [key, value] of samples) lines.push(`${key} ${value}`);
  }
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
}

function withWorker(sample: string, worker: string): string {
  return sample.endsWith('}') ? `${sample.slice(0, -1)},worker="${worker}"}` : `${sample}{worker="${worker}"}`;
}
