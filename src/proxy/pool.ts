// Keep-alive connections to targets, one small pool each. A connection is offered again only while it is young (limits.upstreamIdleMs),
// and never after its target began to drain.

import http from 'node:http';
import type net from 'node:net';
import type { Duplex } from 'node:stream';
import { targetKey } from './dial.ts';
import type { Dial, Target } from './dial.ts';
import type { ProxyLimits } from './limits.ts';

export interface UpstreamRequest {
  readonly method: string;
  readonly path: string;
  /** Flat list: name, value, name, value. Framing headers included. */
  readonly headers: readonly string[];
}

export interface Pool {
  /** A request on an idle or a new connection. Its `socket` event says that a connection exists; before it nothing was sent. */
  request(target: Target, request: UpstreamRequest): http.ClientRequest;
  /** A request on a connection of its own that nobody shares: for upgrades. */
  requestAlone(target: Target, request: UpstreamRequest): http.ClientRequest;
  /** Closes the unused connections of a target. */
  closeIdle(target: Target): void;
  /** Forgets targets that are not in the list; their requests in flight go on. */
  retain(targets: readonly Target[]): void;
  sizes(): { readonly targets: number; readonly idle: number; readonly busy: number };
  stop(): void;
}

export interface PoolOptions {
  readonly dial: Dial;
  readonly limits: ProxyLimits;
}

type OnSocket = (error: Error | null, socket: Duplex) => void;

/** Node's own agent with our way of connecting. */
class TargetAgent extends http.Agent {
  readonly #connect: () => Promise<net.Socket>;

  constructor(connect: () => Promise<net.Socket>, limits: ProxyLimits, maxFreeSockets: number) {
    super({ keepAlive: true, timeout: limits.upstreamIdleMs, maxFreeSockets, scheduling: 'lifo' });
    this.#connect = connect;
  }

  override createConnection(_options: http.ClientRequestArgs, callback?: OnSocket): undefined {
    void this.#open(callback);
  }

  async #open(callback: OnSocket | undefined): Promise<void> {
    let socket: net.Socket;
    try {
      socket = await this.#connect();
    } catch (error) {
      // Node reads the second argument only where there is no error.
      callback?.(error instanceof Error ? error : new Error(String(error)), undefined as unknown as Duplex);
      return;
    }
    callback?.(null, socket);
  }
}

export function createPool(options: PoolOptions): Pool {
  const { dial, limits } = options;
  const agents = new Map<string, TargetAgent>();

  const connect = async (target: Target): Promise<net.Socket> => {
    const socket = await dial(target, limits.connectTimeoutMs);
    // An answer to a request needs no half-open connection: the other side's end makes it useless for the pool.
    socket.allowHalfOpen = false;
    return socket;
  };

  const agentOf = (target: Target): TargetAgent => {
    const key = targetKey(target);
    let agent = agents.get(key);
    if (agent === undefined) {
      agent = new TargetAgent(() => connect(target), limits, limits.idlePerTarget);
      agents.set(key, agent);
    }
    return agent;
  };

  const closeFree = (agent: http.Agent): void => {
    for (const list of Object.values(agent.freeSockets)) for (const socket of list ?? []) socket.destroy();
  };

  const settings = (target: Target, request: UpstreamRequest): http.RequestOptions => ({
    host: target.host,
    port: target.port,
    method: request.method,
    path: request.path,
    headers: request.headers,
    setHost: false,
    maxHeaderSize: limits.headerBytes * 2,
    insecureHTTPParser: false,
  });

  return {
    request: (target, request) => http.request({ ...settings(target, request), agent: agentOf(target) }),
    requestAlone: (target, request) => {
      const agent = new TargetAgent(() => dial(target, limits.connectTimeoutMs), limits, 0);
      return http.request({ ...settings(target, request), agent });
    },
    closeIdle: (target) => {
      const agent = agents.get(targetKey(target));
      if (agent !== undefined) closeFree(agent);
    },
    retain: (targets) => {
      const wanted = new Set(targets.map(targetKey));
      for (const [key, agent] of agents) {
        if (wanted.has(key)) continue;
        // What is in flight ends with its request.
        agent.maxFreeSockets = 0;
        closeFree(agent);
        agents.delete(key);
      }
    },
    sizes: () => {
      let idle = 0;
      let busy = 0;
      for (const agent of agents.values()) {
        for (const list of Object.values(agent.freeSockets)) idle += list?.length ?? 0;
        for (const list of Object.values(agent.sockets)) busy += list?.length ?? 0;
      }
      return { targets: agents.size, idle, busy };
    },
    stop: () => {
      for (const agent of agents.values()) agent.destroy();
      agents.clear();
    },
  };
}
