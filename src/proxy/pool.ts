// Keep-alive connections to targets, one small pool each. A connection is offered again only while it is young (limits.upstreamIdleMs),
// and never after its target began to drain.

import { messageOf } from '../lib/failure.ts';
import { targetKey } from './dial.ts';
import type { Target } from './dial.ts';
import type { Reader } from '../sys/reader.ts';
import { UpstreamConnection } from './h1/upstream-connection.ts';
import type { UpstreamOwner } from './h1/upstream-connection.ts';
import type { KeptUpstreams, KeptUpstreamsOptions } from './kept-upstreams.ts';
import type { Opening, UpstreamObserver } from './message.ts';

export type Pool = KeptUpstreams;

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

export function createPool(options: KeptUpstreamsOptions): Pool {
  const { dial, limits, clock } = options;
  const pools = new Map<string, TargetPool>();
  /** Null until the first target speaks HTTP/2: what it needs costs memory. */
  let sessions: KeptUpstreams | null = null;
  let loading: Promise<KeptUpstreams> | null = null;
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

  const connect = (target: Target, alone: boolean, observer: UpstreamObserver, opening: Opening): { cancel(): void } => {
    let wanted = true;
    const reader: Reader = { onRead: () => undefined };
    dial(target, limits.connectTimeoutMs, reader, alone).then(
      (socket) => {
        if (!wanted) {
          socket.destroy();
          return;
        }
        // The pool of before may have ended meanwhile.
        const pool = poolOf(target);
        const connection = new UpstreamConnection(socket, reader, pool, limits);
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

  const load = async (): Promise<KeptUpstreams> => {
    const { createTargetSessions } = await import('./h2/target-sessions.ts');
    sessions ??= createTargetSessions(options);
    return sessions;
  };
  /** The first stream over HTTP/2. */
  const openLater = (target: Target, alone: boolean, observer: UpstreamObserver, opening: Opening): { cancel(): void } => {
    let wanted = true;
    let cancel = (): void => undefined;
    loading ??= load();
    loading.then(
      (loaded) => {
        const under = wanted ? loaded.open(target, alone, observer, opening) : null;
        if (under !== null) cancel = () => under.cancel();
      },
      (error: unknown) => {
        if (wanted) opening.onOpenFailed(messageOf(error));
      },
    );
    return {
      cancel: () => {
        wanted = false;
        cancel();
      },
    };
  };

  return {
    open: (target, alone, observer, opening) => {
      if (target.protocol === 'h2c')
        return sessions === null ? openLater(target, alone, observer, opening) : sessions.open(target, alone, observer, opening);
      const pool = poolOf(target);
      const connection = alone ? null : takeIdle(pool);
      if (connection === null) return connect(target, alone, observer, opening);
      connection.use(observer);
      opening.onOpened(connection);
      return null;
    },
    closeIdle: (target) => {
      if (target.protocol === 'h2c') return sessions?.closeIdle(target);
      const pool = pools.get(targetKey(target));
      if (pool !== undefined) closeAll(pool);
    },
    forget: (targets) => {
      sessions?.forget(targets);
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
      const shared = sessions?.sizes() ?? { targets: 0, idle: 0, busy: 0 };
      return { targets: pools.size + shared.targets, idle: idle + shared.idle, busy: open - idle + shared.busy };
    },
    stop: () => {
      cancelSweep?.();
      sessions?.stop();
      for (const pool of [...pools.values(), ...leaving]) for (const connection of pool.open) connection.abort();
      pools.clear();
      leaving.clear();
    },
  };
}
