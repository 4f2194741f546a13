// The pure scheduler: a snapshot and requests in, a Plan out. Capacity is never exceeded, and equal input gives an equal Plan: no clock,
// no randomness, no I/O. Requests that are alike are placed at once, by the strategy that their Entrypoint names.

import { coresFor, fits, lacks, rate, take, usage } from './dimensions.ts';
import type { NodeRoom, Place, Plan, PlacementRequest, Unplaced } from './snapshot.ts';
import { balanceUsage, drainFirst, fillUp, onEach, spreadEvenly } from './strategies.ts';
import type { Candidate, Spread } from './strategies.ts';

const NODES_NAMED = 5;
/** More of one kind on one Node are not counted: what asks for nothing would fit any number of times. */
const MOST = 10_000;

/** Places the requests in order, each on top of those before it. What finds no Node is told with the reason per Node. */
export function schedule(nodes: readonly NodeRoom[], requests: readonly PlacementRequest[]): Plan {
  const rooms = new Map(inOrder(nodes).map((node) => [node.id, node]));
  const placed = new Map<string, Place>();
  const unplaced: Unplaced[] = [];
  for (const batch of inDue(batchesOf(requests))) {
    const [request] = batch;
    if (request === undefined) continue;
    const targets = targetsOf([...rooms.values()], request, batch.length);
    for (const [index, { key }] of batch.entries()) {
      const room = rooms.get(targets[index] ?? '');
      if (room === undefined) unplaced.push(explain([...rooms.values()], { ...request, key }));
      else {
        placed.set(key, { nodeId: room.id, cores: request.ask.bind ? coresFor(room, request.ask) : null });
        rooms.set(room.id, withRequest(room, request));
      }
    }
  }
  return { placed, unplaced };
}

/** By their ids, as they most often are already. */
function inOrder(nodes: readonly NodeRoom[]): readonly NodeRoom[] {
  const isSorted = nodes.every((node, index) => index === 0 || (nodes[index - 1]?.id ?? '') < node.id);
  return isSorted ? nodes : nodes.toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

/** How many more of the request fit on each Node that may have it, whatever its strategy. */
export function capacityFor(nodes: readonly NodeRoom[], request: PlacementRequest): ReadonlyMap<string, number> {
  return new Map(nodes.map((node) => [node.id, obstacle(node, request) === null ? allowedOn(node, request) : 0]));
}

/** Those that are alike and follow each other. */
function batchesOf(requests: readonly PlacementRequest[]): readonly (readonly PlacementRequest[])[] {
  const batches: PlacementRequest[][] = [];
  for (const request of requests) {
    const last = batches.at(-1);
    const first = last?.[0];
    if (first?.deploymentKey === request.deploymentKey && first.stickyNodeId === request.stickyNodeId) last?.push(request);
    else batches.push([request]);
  }
  return batches;
}

/** What shall be near others comes behind them, as far as that goes. */
function inDue(batches: readonly (readonly PlacementRequest[])[]): readonly (readonly PlacementRequest[])[] {
  const ordered: (readonly PlacementRequest[])[] = [];
  let left = [...batches];
  while (left.length > 0) {
    const waits = ([request]: readonly PlacementRequest[]): boolean =>
      left.some(([other]) => other !== undefined && other.hostKey !== request?.hostKey && request?.near.includes(other.hostKey) === true);
    const due = left.filter((batch) => !waits(batch));
    // Those that wait for each other.
    if (due.length === 0) return [...ordered, ...left];
    ordered.push(...due);
    left = left.filter((batch) => !due.includes(batch));
  }
  return ordered;
}

const countOn = (node: NodeRoom, request: PlacementRequest): number => node.perDeployment.get(request.deploymentKey) ?? 0;

function holdsPort(node: NodeRoom, { fixedPort, driver }: PlacementRequest): boolean {
  const choice = fixedPort === null ? null : driver(node.drivers);
  return choice !== null && choice.ok && choice.holdsPort;
}

/** How many more fit on a Node without an obstacle. */
function roomFor(node: NodeRoom, request: PlacementRequest): number {
  return Math.min(fits(node, request.ask), holdsPort(node, request) ? 1 : MOST);
}

/** And how many of them it may have. */
function allowedOn(node: NodeRoom, request: PlacementRequest): number {
  const { perNode, apart, hostKey } = request;
  // Apart from its own kind it is alone.
  const alone = apart.includes(hostKey) ? 1 : Infinity;
  return Math.max(0, Math.min(roomFor(node, request), alone, perNode > 0 ? perNode - countOn(node, request) : Infinity));
}

/** Ids of the Nodes of as many of them as find one, in the order in which they are to be given. */
function targetsOf(nodes: readonly NodeRoom[], request: PlacementRequest, need: number): readonly string[] {
  const able = nodes.filter((node) => obstacle(node, request) === null);
  const candidates = able.map((node): Candidate => ({
    name: node.name,
    count: countOn(node, request),
    // By fill and each, Nodes are compared by all of their room.
    capacity: isPerNode(request) ? roomFor(node, request) : allowedOn(node, request),
    usage: usage(node),
    rate: rate(node, request.ask),
  }));
  const order =
    request.spread === null ? targetsBy(candidates, request, need) : overValues(nodes, able, candidates, request, request.spread, need);
  return order.flatMap((index) => able[index]?.id ?? []);
}

/** Evenly over the values of a label, and within each by the strategy. Nodes without the label are together, as if it were empty. */
function overValues(
  nodes: readonly NodeRoom[],
  able: readonly NodeRoom[],
  candidates: readonly Candidate[],
  request: PlacementRequest,
  label: string,
  need: number,
): readonly number[] {
  const valueOf = (node: NodeRoom): string => node.labels[label] ?? '';
  const values = [...new Set(able.map(valueOf))].sort();
  const members = values.map((value) => able.flatMap((node, index) => (valueOf(node) === value ? [index] : [])));
  const parts = values.map((value, at): Candidate => {
    const all = nodes.filter((node) => valueOf(node) === value);
    return {
      name: value,
      count: all.reduce((sum, node) => sum + countOn(node, request), 0),
      capacity: (members[at] ?? []).reduce((sum, index) => sum + (candidates[index]?.capacity ?? 0), 0),
      usage: 0,
      rate: 0,
    };
  });
  const most = Math.min(
    need,
    parts.reduce((sum, { capacity }) => sum + capacity, 0),
  );
  const spread = spreadEvenly(parts, most, 0);
  if (!spread.ok) return [];
  const inside = members.map((indices, at) => {
    const its = indices.flatMap((index) => candidates[index] ?? []);
    return targetsBy(its, request, spread.counts[at] ?? 0).flatMap((index) => indices[index] ?? []);
  });
  const next = inside.map(() => 0);
  return spread.sequence().flatMap((at) => {
    const place = next[at] ?? 0;
    next[at] = place + 1;
    return inside[at]?.[place] ?? [];
  });
}

const isPerNode = ({ strategy }: PlacementRequest): boolean => strategy === 'fill' || strategy === 'each';

function targetsBy(candidates: readonly Candidate[], { strategy, perNode }: PlacementRequest, need: number): readonly number[] {
  const most = Math.min(
    need,
    candidates.reduce((sum, { capacity }) => sum + capacity, 0),
  );
  switch (strategy) {
    case 'auto':
      return sequenceOf(spreadEvenly(candidates, most, 0));
    case 'global':
      return sequenceOf(balanceUsage(candidates, most));
    case 'drained':
      return sequenceOf(drainFirst(candidates, most));
    case 'fill':
    case 'each':
      return perNodeTargets(candidates, strategy === 'fill' ? fillUp : onEach, Math.max(1, perNode), need);
  }
}

const sequenceOf = (spread: Spread): readonly number[] => (spread.ok ? spread.sequence() : []);

/** First what Nodes lack that have some of it already, then whole Nodes. The last one may get fewer. */
function perNodeTargets(
  candidates: readonly Candidate[],
  strategy: (candidates: readonly Candidate[], need: number, nodes: number) => Spread,
  perNode: number,
  need: number,
): readonly number[] {
  const begun = candidates
    .map((candidate, index) => ({ ...candidate, index }))
    .filter(({ count, capacity }) => count > 0 && count < perNode && capacity > 0)
    .sort((a, b) => b.count - a.count || (a.name < b.name ? -1 : 1))
    .flatMap(({ index, count, capacity }) => Array.from({ length: Math.min(perNode - count, capacity) }, () => index));
  const left = need - begun.length;
  if (left <= 0) return begun.slice(0, need);
  const fresh = candidates.map((candidate) => (candidate.count > 0 ? { ...candidate, capacity: 0, count: 0 } : candidate));
  // What would not fill a Node asks for no more room than it needs.
  const each = Math.min(perNode, left);
  const able = fresh.filter(({ capacity }) => capacity >= each).length;
  const nodes = Math.min(Math.ceil(left / each), able);
  return nodes === 0 ? begun : [...begun, ...sequenceOf(strategy(fresh, each, nodes))].slice(0, need);
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
    if (node.labels[key] !== value)
      return busy(
        `lacks the label ${key}=${value}`,
        `Label a Node so, \`libra nodes set <node> label.${key}=${value}\`, or change \`placement: { labels }\`.`,
      );
  }
  const lacking = request.near.find((key) => !node.hosts.has(key));
  if (lacking !== undefined)
    return busy(`has no ${entrypointIn(lacking)}`, `It is to be near ${entrypointIn(lacking)}: see that this one runs there.`);
  const foe = request.apart.find((key) => node.hosts.has(key)) ?? node.shunned.get(request.hostKey);
  if (foe !== undefined) return busy(`has ${entrypointIn(foe)}`, `It is to be apart from ${entrypointIn(foe)}: add a Node.`);
  const driver = request.driver(node.drivers);
  if (!driver.ok) return { message: driver.message, code: 'unsupported', hint: driver.hint };
  if (request.fixedPort !== null && holdsPort(node, request) && node.ports.has(request.fixedPort)) {
    return busy(
      `port ${request.fixedPort} is taken there`,
      'Let the program take $PORT, or add a Node: a fixed port means one Instance per Node.',
    );
  }
  if (request.perNode > 0 && countOn(node, request) >= request.perNode) {
    return busy(`has ${request.perNode} already (perNode)`, 'Add a Node, or raise `placement: { perNode }`.');
  }
  const missing = lacks(node, request.ask);
  return missing === null ? null : busy(missing, 'Ask for less in `resources`, scale something down, or add a Node.');
}

const entrypointIn = (hostKey: string): string => hostKey.slice(hostKey.indexOf('/') + 1);

/** By fill and each a Node with some room may still not be taken. */
function refusal(node: NodeRoom, request: PlacementRequest): Obstacle | null {
  const found = obstacle(node, request);
  if (found !== null) return found;
  const message = `has room for ${allowedOn(node, request)} of the ${request.perNode} that each Node is to get`;
  return { message, code: 'no_capacity', hint: 'Add a Node, or lower `placement: { perNode }`.' };
}

function explain(nodes: readonly NodeRoom[], request: PlacementRequest): Unplaced {
  const obstacles = nodes.flatMap((node) => {
    const found = refusal(node, request);
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
  return {
    ...take(node, request.ask),
    ports: request.fixedPort !== null && holdsPort(node, request) ? new Set(node.ports).add(request.fixedPort) : node.ports,
    shunned:
      request.apart.length === 0
        ? node.shunned
        : new Map([...node.shunned, ...request.apart.map((key) => [key, request.hostKey] as const)]),
    hosts: node.hosts.has(request.hostKey) ? node.hosts : new Set(node.hosts).add(request.hostKey),
    perDeployment: new Map(node.perDeployment).set(request.deploymentKey, countOn(node, request) + 1),
  };
}
