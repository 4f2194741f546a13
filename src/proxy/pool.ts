// Keep-alive connections to targets, one small pool each. A connection is offered again only while it is young (limits.upstreamIdleMs),
// and never after its target began to drain.

import type { Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/failure.ts';
import { targetKey } from './dial.ts';
import type { Dial, Target } from './dial.ts';
import { UpstreamConnection } from './h1/upstream-connection.ts';
import type { UpstreamOwner } from './h1/upstream-connection.ts';
import type { ProxyLimits } from './limits.ts';
import type { Opening, Upstreams, UpstreamObserver } from './message.ts';

export interface Pool extends Upstreams {
  /** Closes the unused connections of a target. */
  closeIdle(target: Target): void;
  /** Keeps no connection to these targets any longer; their requests in flight go on. */
  forget(targets: readonly Target[]): void;
  sizes(): { readonly targets: number; readonly idle: number; readonly busy: number };
  stop(): void;
}

export interface PoolOptions {
  readonly dial: Dial;
  readonly limits: ProxyLimits;
  readonly clock: Clock;
}

interface TargetPool extends UpstreamOwner {
  readonly key: string;
  /** Youngest last. */
  readonly idle: UpstreamConnection[];
  /** All that are open. */
  readonly open: Set<UpstreamConnection>;
  /** False: it is in no list any more, and nothing is kept. */
  kept: boolean;
}

const SWEEP_MS = 1_000;

export function createPool(options: PoolOptions): Pool {
  const { dial, limits, clock } = options;
  const pools = new Map<string, TargetPool>();
  /** The same for those who hold the target itself, so that a request makes no key. */
  const byTarget = new WeakMap<Target, TargetPool>();
  /** Of targets that are gone, while requests of theirs are in flight. */
  const leaving = new Set<TargetPool>();
  let cancelSweep: (() => void) | null = null;

  const createTargetPool = (key: string): TargetPool => {
    const pool: TargetPool = {
      key,
      idle: [],
      open: new Set(),
      kept: true,
      onFree: (connection) => {
        if (!pool.kept || pool.idle.length >= limits.idlePerTarget) {
          connection.abort();
          return;
        }
        connection.idleSinceMs = clock.monotonic();
        pool.idle.push(connection);
        cancelSweep ??= clock.timer(SWEEP_MS, sweep);
      },
      onClosed: (connection) => {
        pool.open.delete(connection);
        const at = pool.idle.indexOf(connection);
        if (at !== -1) pool.idle.splice(at, 1);
        if (pool.open.size > 0) return;
        leaving.delete(pool);
        // What has no connection needs no place: a target that is asked once more after it is gone leaves nothing behind.
        if (pool.kept) pools.delete(pool.key);
        pool.kept = false;
      },
    };
    return pool;
  };
  const poolOf = (target: Target): TargetPool => {
    const known = byTarget.get(target);
    if (known?.kept === true) return known;
    const key = targetKey(target);
    let pool = pools.get(key);
    if (pool === undefined) {
      pool = createTargetPool(key);
      pools.set(key, pool);
    }
    byTarget.set(target, pool);
    return pool;
  };
  const closeAll = (pool: TargetPool): void => {
    for (const connection of pool.idle.splice(0)) connection.abort();
  };
  const sweep = (): void => {
    cancelSweep = null;
    const limit = clock.monotonic() - limits.upstreamIdleMs;
    let left = 0;
    for (const { idle } of pools.values()) {
      while (idle[0] !== undefined && idle[0].idleSinceMs <= limit) idle.shift()?.abort();
      left += idle.length;
    }
    if (left > 0) cancelSweep = clock.timer(SWEEP_MS, sweep);
  };
  const takeIdle = (pool: TargetPool): UpstreamConnection | null => {
    const limit = clock.monotonic() - limits.upstreamIdleMs;
    for (let connection = pool.idle.pop(); connection !== undefined; connection = pool.idle.pop()) {
      if (connection.usable && connection.idleSinceMs > limit) return connection;
      connection.abort();
    }
    return null;
  };

  const connect = (target: Target, observer: UpstreamObserver, opening: Opening): { cancel(): void } => {
    let wanted = true;
    dial(target, limits.connectTimeoutMs).then(
      (socket) => {
        if (!wanted) {
          socket.destroy();
          return;
        }
        // The pool of before may have ended meanwhile.
        const pool = poolOf(target);
        const connection = new UpstreamConnection(socket, pool, limits);
        pool.open.add(connection);
        connection.use(observer);
        opening.onOpened(connection);
      },
      (error: unknown) => {
        if (wanted) opening.onOpenFailed(messageOf(error));
      },
    );
    return {
      cancel: () => {
        wanted = false;
      },
    };
  };

  return {
    open: (target, alone, observer, opening) => {
      if (target.protocol === 'h2c') {
        opening.onOpenFailed('HTTP/2 is not spoken to targets');
        return null;
      }
      const pool = poolOf(target);
      const connection = alone ? null : takeIdle(pool);
      if (connection === null) return connect(target, observer, opening);
      connection.use(observer);
      opening.onOpened(connection);
      return null;
    },
    closeIdle: (target) => {
      const pool = pools.get(targetKey(target));
      if (pool !== undefined) closeAll(pool);
    },
    forget: (targets) => {
      for (const target of targets) {
        const pool = pools.get(targetKey(target));
        if (pool === undefined) continue;
        pool.kept = false;
        closeAll(pool);
        pools.delete(pool.key);
        if (pool.open.size > 0) leaving.add(pool);
      }
    },
    sizes: () => {
      let idle = 0;
      let open = 0;
      for (const pool of [...pools.values(), ...leaving]) {
        idle += pool.idle.length;
        open += pool.open.size;
      }
      return { targets: pools.size, idle, busy: open - idle };
    },
    stop: () => {
      cancelSweep?.();
      for (const pool of [...pools.values(), ...leaving]) for (const connection of pool.open) connection.abort();
      pools.clear();
      leaving.clear();
    },
  };
}
