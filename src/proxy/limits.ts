// Every bound of the data path in one place, so that nothing in it can grow or wait without end.

export interface ProxyLimits {
  /** Request line and headers of a client, bytes. */
  readonly headerBytes: number;
  /** A client must have sent all headers within this time. */
  readonly headerTimeoutMs: number;
  /** Longest silence of a client in the middle of its request body. */
  readonly bodyIdleMs: number;
  /** From the last byte of the request to the first byte of the answer. */
  readonly responseTimeoutMs: number;
  /** Longest silence of an answer or of an upgraded stream. */
  readonly streamIdleMs: number;
  /** A client's keep-alive connection without a request. Longer than what load balancers keep (60 s), so that they close first. */
  readonly clientIdleMs: number;
  /** To open a connection to a target. */
  readonly connectTimeoutMs: number;
  /**
   * An unused connection to a target. Below the shortest keep-alive time of common servers (gunicorn 2 s, Node, uvicorn and Apache 5 s):
   * a server that closes in the moment of our next request cannot be told apart from one that failed, so that moment must not come.
   */
  readonly upstreamIdleMs: number;
  readonly idlePerTarget: number;
  /** Requests and streams open at the same time on one target. */
  readonly openPerTarget: number;
  /** The same on all targets of a group: what one App may take of the whole. */
  readonly openPerGroup: number;
  /** Connections of clients. */
  readonly connections: number;
  /** Connections of clients from one address. Behind a load balancer all come from few; it is meant against one that takes all. */
  readonly connectionsPerAddress: number;
  /** Waiting for one socket to take it, bytes; the other side is read no further meanwhile. */
  readonly writeBytes: number;
  /** A client that has ended its side and takes nothing of its answer for this long is gone. */
  readonly halfClosedMs: number;
  /** Part of a request body that is kept for a repetition, bytes. */
  readonly replayBytes: number;
  /** Tries of one request, the first included, those on a kept connection that turned out to be closed too. */
  readonly attempts: number;
  /** What is still read, and thrown away, of a request body after the answer has ended, bytes. */
  readonly discardBytes: number;
}

export const DEFAULT_LIMITS: ProxyLimits = {
  headerBytes: 32 * 1024,
  headerTimeoutMs: 15_000,
  bodyIdleMs: 60_000,
  responseTimeoutMs: 300_000,
  streamIdleMs: 3_600_000,
  clientIdleMs: 75_000,
  connectTimeoutMs: 3_000,
  upstreamIdleMs: 1_000,
  idlePerTarget: 64,
  openPerTarget: 12_000,
  openPerGroup: 12_000,
  connections: 20_000,
  connectionsPerAddress: 12_000,
  writeBytes: 64 * 1024,
  halfClosedMs: 10_000,
  replayBytes: 64 * 1024,
  attempts: 10,
  discardBytes: 16 * 1024 * 1024,
};
