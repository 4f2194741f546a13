// The pure scheduler: a snapshot and requests in, a Plan out. Capacity is never exceeded, and equal input gives an equal Plan: no clock,
// no randomness, no I/O.

import type { Amount, NodeRoom, Plan, PlacementRequest, Unplaced } from './snapshot.ts';
import { STRATEGIES } from './strategies.ts';

/** Sums of fractions of cores are not exact. */
const EPSILON = 1e-9;
const NODES_NAMED = 5;

/** Places the requests in order, each on top of those before it. What finds no Node is told with the reason per Node. */
export function schedule(nodes: readonly NodeRoom[], requests: readonly PlacementRequest[]): Plan {
  const rooms = new Map(nodes.toSorted((a, b) => (a.id < b.id ? -1 : 1)).map((node) => [node.id, node]));
  const placed = new Map<string, string>();
  const unplaced: Unplaced[] = [];
  for (const request of requests) {
    const strategy = STRATEGIES[request.strategy];
    if (strategy === null) {
      unplaced.push({
        key: request.key,
        code: 'unsupported',
        message: `The placement strategy ${request.strategy} is not there yet.`,
        hint: 'Use `placement: { strategy: auto }`.',
      });
      continue;
    }
    const able = [...rooms.values()].filter((node) => obstacle(node, request) === null);
    const chosen = able.length === 0 ? undefined : strategy(able, request);
    if (chosen === undefined) {
      unplaced.push(explain([...rooms.values()], request));
      continue;
    }
    placed.set(request.key, chosen.id);
    rooms.set(chosen.id, withRequest(chosen, request));
  }
  return { placed, unplaced };
}

interface Obstacle {
  readonly message: string;
  /** Whether less load or another Node would help. */
  readonly code: Unplaced['code'];
  readonly hint: string;
}

/** Why this Node cannot take it; null where it can. */
function obstacle(node: NodeRoom, request: PlacementRequest): Obstacle | null {
  const busy = (message: string, hint: string): Obstacle => ({ message, code: 'no_capacity', hint });
  if (request.stickyNodeId !== null && request.stickyNodeId !== node.id) {
    return busy('its volume is on another Node', 'The slot stays on the Node that holds its volume; bring that Node back.');
  }
  if (node.closed !== null) return busy(node.closed, 'Look at `libra nodes`.');
  for (const [key, value] of Object.entries(request.labels)) {
    if (node.labels[key] !== value) return busy(`lacks the label ${key}=${value}`, 'Label a Node so, or change `placement: { labels }`.');
  }
  const driver = request.driver(node.drivers);
  if (!driver.ok) return { message: driver.message, code: 'unsupported', hint: driver.hint };
  if (request.fixedPort !== null && driver.driver === 'process' && node.ports.has(request.fixedPort)) {
    return busy(
      `port ${request.fixedPort} is taken there`,
      'Let the program take $PORT, or add a Node: a fixed port means one Instance per Node.',
    );
  }
  if (request.perNode > 0 && (node.perDeployment.get(request.deploymentKey) ?? 0) >= request.perNode) {
    return busy(`has ${request.perNode} already (perNode)`, 'Add a Node, or raise `placement: { perNode }`.');
  }
  return shortage(node, request.resources);
}

function shortage(node: NodeRoom, asked: Amount): Obstacle | null {
  const freeCpu = node.capacity.cpu - node.used.cpu;
  const freeBytes = node.capacity.memoryBytes - node.used.memoryBytes;
  const hint = 'Ask for less in `resources`, scale something down, or add a Node.';
  if (asked.cpu > freeCpu + EPSILON) {
    return { message: `${round(freeCpu)} CPU free, ${round(asked.cpu)} asked`, code: 'no_capacity', hint };
  }
  if (asked.memoryBytes > freeBytes) {
    return { message: `${mebibytes(freeBytes)} memory free, ${mebibytes(asked.memoryBytes)} asked`, code: 'no_capacity', hint };
  }
  return null;
}

function round(value: number): number {
  return Math.max(0, Math.round(value * 100) / 100);
}

function mebibytes(bytes: number): string {
  return `${Math.max(0, Math.round(bytes / 1024 / 1024))}Mi`;
}

function explain(nodes: readonly NodeRoom[], request: PlacementRequest): Unplaced {
  const obstacles = nodes.flatMap((node) => {
    const found = obstacle(node, request);
    return found === null ? [] : [{ node, found }];
  });
  const named = obstacles.slice(0, NODES_NAMED).map(({ node, found }) => `${node.name}: ${found.message}`);
  const more = obstacles.length > NODES_NAMED ? `; and ${obstacles.length - NODES_NAMED} more` : '';
  const why = obstacles.length === 0 ? 'the Runtime has no Node' : `${named.join('; ')}${more}`;
  const unsupported = obstacles.length > 0 && obstacles.every(({ found }) => found.code === 'unsupported');
  // The hint of the Node that came closest: one that only lacks room tells more than one that is closed.
  const telling = obstacles.find(({ node }) => node.closed === null) ?? obstacles[0];
  return {
    key: request.key,
    code: unsupported ? 'unsupported' : 'no_capacity',
    message: `No Node can take it (${why}).`,
    hint: telling?.found.hint ?? 'Look at `libra nodes`: no agent has joined this Runtime.',
  };
}

function withRequest(node: NodeRoom, request: PlacementRequest): NodeRoom {
  const plusOne = (counts: ReadonlyMap<string, number>, key: string): ReadonlyMap<string, number> =>
    new Map(counts).set(key, (counts.get(key) ?? 0) + 1);
  return {
    ...node,
    used: { cpu: node.used.cpu + request.resources.cpu, memoryBytes: node.used.memoryBytes + request.resources.memoryBytes },
    ports: request.fixedPort === null ? node.ports : new Set(node.ports).add(request.fixedPort),
    perDeployment: plusOne(node.perDeployment, request.deploymentKey),
    perEntrypoint: plusOne(node.perEntrypoint, request.entrypointKey),
  };
}
