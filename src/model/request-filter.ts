// Which requests somebody wants to see. Pure; the same rules whether lines are looked up or watched as they come.

export interface RequestFilter {
  readonly app?: string;
  readonly environment?: string;
  /** Host and path of the rule. */
  readonly route?: string;
  /** `404`, or a class such as `5xx`. */
  readonly status?: string;
  readonly method?: string;
  /** What the path begins with. */
  readonly path?: string;
  /** Only those that took at least so long. */
  readonly slowerThanMs?: number;
}

/** One line of the access log. */
export interface RequestLine {
  readonly at: string;
  readonly id: string;
  readonly client: string;
  readonly method: string;
  readonly host: string;
  readonly path: string;
  readonly protocol: string;
  readonly tls: string | null;
  readonly status: number | null;
  readonly result: string;
  readonly reason?: string;
  readonly route?: string;
  readonly app?: string;
  readonly environment?: string;
  readonly entrypoint?: string;
  /** Number of the Deployment that answered. */
  readonly deployment?: string;
  readonly instance: string | null;
  readonly attempts: number;
  readonly waitMs: number;
  readonly connectMs: number | null;
  readonly firstByteMs: number | null;
  readonly durationMs: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly trace: string;
  readonly span: string;
}

export const STATUS_FILTER: RegExp = /^[1-5](?:\d\d|xx)$/u;

export function matchesRequest(filter: RequestFilter, line: RequestLine): boolean {
  if (filter.app !== undefined && line.app !== filter.app) return false;
  if (filter.environment !== undefined && line.environment !== filter.environment) return false;
  if (filter.route !== undefined && line.route !== filter.route) return false;
  if (filter.method !== undefined && line.method !== filter.method.toUpperCase()) return false;
  if (filter.path !== undefined && !line.path.startsWith(filter.path)) return false;
  if (filter.slowerThanMs !== undefined && line.durationMs < filter.slowerThanMs) return false;
  if (filter.status === undefined) return true;
  const status = String(line.status ?? '');
  return filter.status.endsWith('xx') ? status.length === 3 && status.startsWith(filter.status.charAt(0)) : status === filter.status;
}
