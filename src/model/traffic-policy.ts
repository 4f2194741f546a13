// How requests are spread over the Instances of an Entrypoint, and what is done when one of them fails: the effective form of the
// manifest's `traffic`, as it stands in a Deployment and in the route table. Every field has a default, which is the whole policy of an
// Entrypoint that says nothing.

/** What a client is known by. Header names in lower case. */
export interface TrafficKey {
  readonly kind: 'cookie' | 'header';
  readonly name: string;
}

export type Balance =
  /** The less busy of two: requests under way times latency. */
  | { readonly kind: 'least' }
  | { readonly kind: 'round-robin' }
  /** The same key goes to the same Instance for as long as that one serves. */
  | { readonly kind: 'hash'; readonly by: TrafficKey }
  /** The Edge gives each client a cookie that names its Instance. */
  | { readonly kind: 'sticky'; readonly cookie: string };

export interface EjectPolicy {
  /** Failures in a row (reset, timeout, an answer that is no HTTP) that eject; 0: never. */
  readonly failures: number;
  /** Percentage of 5xx answers that ejects, where the others have far less; 0: never. */
  readonly errorsPercent: number;
  /** Ejected where requests wait and none is answered for so long; 0: never. */
  readonly stallMs: number;
  /** The first time out; doubles with each that follows. */
  readonly firstMs: number;
  /** At most this percentage of the Instances is out at once, but for those that refuse connections; never all. */
  readonly sharePercent: number;
}

export interface RetryPolicy {
  /** Tries of one request, the first included. */
  readonly attempts: number;
  /** Retries beyond a small floor, as a percentage of the latest requests. */
  readonly budgetPercent: number;
  /** Longest wait of a repeatable request for the beginning of an answer before it is tried elsewhere; 0: the whole time. */
  readonly perTryMs: number;
  /** Methods that are not idempotent are repeated too, though the first try may have had its effect. */
  readonly unsafe: boolean;
}

export interface TrafficPolicy {
  readonly balance: Balance;
  readonly protocol: 'http1' | 'h2c';
  /** Requests that one Instance has not begun to answer. */
  readonly maxPending: number;
  /** Requests and streams open on one Instance. */
  readonly maxOpen: number;
  /** Connections to one Instance. */
  readonly maxConnections: number;
  /** A fresh Instance, or one that was ejected, gets its full part only after so long. */
  readonly slowStartMs: number;
  /** null: nothing but a refused connection takes an Instance out. */
  readonly eject: EjectPolicy | null;
  readonly retries: RetryPolicy;
}

export const DEFAULT_TRAFFIC: TrafficPolicy = {
  balance: { kind: 'least' },
  protocol: 'http1',
  maxPending: 1024,
  maxOpen: 12_000,
  maxConnections: 12_000,
  slowStartMs: 10_000,
  eject: { failures: 3, errorsPercent: 50, stallMs: 5_000, firstMs: 5_000, sharePercent: 50 },
  retries: { attempts: 3, budgetPercent: 20, perTryMs: 0, unsafe: false },
};

/** Name of the cookie of `balance: sticky`. */
export const STICKY_COOKIE = 'libra_instance';
