// Which calls the control plane that leads answers: all that change something, and those that tell of what machines have said to it. What
// is only read is answered by each one from its own view.

import type { IncomingHttpHeaders } from 'node:http';
import type { Endpoint } from '../../api/endpoint.ts';
import { moving } from './forward.ts';
import type { LeaderElsewhere, Leadership } from './leadership.ts';
import { FORWARDED } from './peer.ts';

/** Reads whose answer is in the memory of the leader: heartbeats, usage, what Edges count, streams of agents. `x.*`: all of a noun. */
export const LEADER_READS: ReadonlySet<string> = new Set([
  'agent.*',
  'dataplane.*',
  'deployments.list',
  'deployments.get',
  'instances.list',
  'instances.get',
  'instances.logs',
  'instances.exec',
  'instances.files',
  'instances.stats',
  'kv.usage',
  'nodes.list',
  'nodes.get',
  'nodes.stats',
  'requests.watch',
  'system.status',
]);

/** Neither reads nor changes of the platform: what concerns one control plane only, and questions that come with a body. */
export const OWN_CALLS: ReadonlySet<string> = new Set(['blobs.upload', 'system.shutdown', 'plans.create', 'routes.explain']);

interface Named {
  readonly name: string;
  readonly endpoint: Endpoint;
}

function isLeaders({ name, endpoint }: Named): boolean {
  if (LEADER_READS.has(name) || LEADER_READS.has(`${name.slice(0, name.indexOf('.'))}.*`)) return true;
  return endpoint.method !== 'GET' && !OWN_CALLS.has(name);
}

/** null: it is answered here. Throws `unavailable` (details.moving) where nobody can answer it at the moment. */
export function elsewhere(
  leadership: Pick<Leadership, 'elsewhere'>,
  leadsNow: boolean,
  call: Named,
  headers: IncomingHttpHeaders,
): LeaderElsewhere | null {
  if (leadsNow || !isLeaders(call)) return null;
  const leader = headers[FORWARDED] === undefined ? leadership.elsewhere() : null;
  if (leader !== null) return leader;
  // Better what the own view knows than nothing.
  if (call.endpoint.method === 'GET' && call.endpoint.kind === 'json') return null;
  throw moving('No control plane leads at the moment.', { untouched: true });
}
