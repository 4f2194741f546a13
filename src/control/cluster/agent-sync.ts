// Desired state on its way to the agents: per Node one stream, first everything, then what changed, coalesced. The stream remembers
// only generations that it has sent, so a slow or returning agent costs nothing and always ends with the truth.

import { isDeepStrictEqual } from 'node:util';
import type { AgentMessage, DesiredInstance } from '../../api/agent.ts';
import type { table } from '../../api/table.ts';
import { Failure, messageOf } from '../../lib/failure.ts';
import type { InstanceSpec, Reason } from '../../model/documents.ts';
import type { ControlContext } from '../context.ts';
import { hostGrantRecords } from '../auth/records.ts';
import { instanceSpecRecords } from '../deploys/records.ts';
import { sessionRecords } from '../dev/records.ts';
import type { Handler, StreamItem } from '../handler.ts';
import { createWakeup } from '../wakeup.ts';
import type { Wakeup } from '../wakeup.ts';
import { asksForMachine, compileDesired } from './desired.ts';
import { instanceStatusRecords, nodeSpecRecords } from './records.ts';

const PING_MS = 3000;
const WAITING_CALLS = 64;
const PER_DELTA = 200;
/** No Instance has this generation. */
const NEVER = -1;

/** Machines that may reach Instances on other Nodes: every one has an Edge or the API Proxy of its Apps. */
interface KnownPeers {
  readonly all: ReadonlySet<string>;
  /** Since `to`, where nobody has gone: most changes are of this kind, and with many machines the whole list is long. */
  readonly added: { readonly to: ReadonlySet<string>; readonly machines: readonly string[] } | null;
}

interface NodeStream {
  readonly nodeId: string;
  readonly wakeup: Wakeup;
  /** Ids whose records changed since they were sent. Never more than the Node's Instances and those it had. */
  readonly dirty: Set<string>;
  /** Generation that the agent was last sent, by Instance. */
  readonly sent: Map<string, number>;
  readonly calls: Extract<AgentMessage, { type: 'call' }>[];
  /** The machines that the agent was told last; null: none so far. */
  peers: KnownPeers | null;
  /** Of its laptops, as the agent was told last. */
  sessions: Readonly<Record<string, number>>;
  readonly closed: AbortController;
}

export interface AgentSync {
  readonly sync: Handler<typeof table.agent.sync>;
  /** Puts a call on the Node's stream; false where it has none or too many wait. */
  readonly send: (nodeId: string, call: Extract<AgentMessage, { type: 'call' }>) => boolean;
  readonly isConnected: (nodeId: string) => boolean;
  stop(): void;
}

export interface AgentSyncDeps {
  readonly openValue: (valueId: string) => Buffer;
  /** Told of an Instance that cannot be compiled; it will never run. */
  readonly onImpossible: (spec: InstanceSpec, reason: Reason) => void;
}

export function createAgentSync(context: ControlContext, deps: AgentSyncDeps): AgentSync {
  const { view, clock, log } = context;
  const streams = new Map<string, NodeStream>();

  const mark = (stream: NodeStream, id: string): void => {
    stream.dirty.add(id);
    stream.wakeup.wake();
  };

  /** Of every Instance, also for the moment in which its record goes. */
  const nodeOf = new Map(view.list(instanceSpecRecords).map(({ document }) => [document.id, document.nodeId]));
  const isNode = (id: string): boolean => view.get(nodeSpecRecords, id) !== undefined;
  let known: KnownPeers = { all: new Set(view.list(nodeSpecRecords).map(({ document }) => document.id)), added: null };
  const notePeers = (changed: readonly string[]): void => {
    const all = new Set(known.all);
    for (const id of changed) {
      if (isNode(id)) all.add(id);
      else all.delete(id);
    }
    const machines = changed.filter(isNode);
    known = { all, added: machines.length === changed.length ? { to: known.all, machines } : null };
  };

  const renewGranted = (stream: NodeStream): void => {
    for (const { document } of view.by(instanceSpecRecords, 'node', stream.nodeId)) {
      if (!asksForMachine(view, document) || !stream.sent.has(document.id)) continue;
      stream.sent.set(document.id, NEVER);
      mark(stream, document.id);
    }
  };

  const unsubscribe = view.onChange((changed) => {
    for (const id of changed.get(instanceSpecRecords.name) ?? []) {
      const now = view.get(instanceSpecRecords, id)?.document.nodeId;
      const nodeId = now ?? nodeOf.get(id);
      if (now === undefined) nodeOf.delete(id);
      else nodeOf.set(id, now);
      const stream = nodeId === undefined ? undefined : streams.get(nodeId);
      if (stream !== undefined) mark(stream, id);
    }
    // What its containers may do with the machine is told anew, so that the next start knows.
    if (changed.has(hostGrantRecords.name)) for (const stream of streams.values()) renewGranted(stream);
    if (changed.has(sessionRecords.name)) for (const stream of streams.values()) stream.wakeup.wake();
    // A Node that was removed is told by what its next call is answered.
    for (const id of changed.get(nodeSpecRecords.name) ?? [])
      if (view.get(nodeSpecRecords, id) === undefined) streams.get(id)?.closed.abort();
    // Records of Nodes change with every placement; who may be let in seldom does.
    const others = [...(changed.get(nodeSpecRecords.name) ?? [])].filter((id) => isNode(id) !== known.all.has(id));
    if (others.length > 0) {
      notePeers(others);
      for (const stream of streams.values()) stream.wakeup.wake();
    }
    for (const id of changed.get(instanceStatusRecords.name) ?? []) {
      // An Instance that was given up must not run on, should its Node be there after all.
      if (view.get(instanceStatusRecords, id)?.document.phase !== 'lost') continue;
      const stream = streams.get(nodeOf.get(id) ?? '');
      if (stream?.sent.has(id) === true) mark(stream, id);
    }
  });

  /** The machines that may come in, where the agent was told of others. */
  const peers = (stream: NodeStream): AgentMessage | null => {
    const before = stream.peers;
    if (before === known) return null;
    stream.peers = known;
    const { all, added } = known;
    if (added !== null && added.to === before?.all) return { type: 'peers-added', machines: added.machines };
    return { type: 'peers', edges: [...all].sort() };
  };

  /** Laptops that are connected there, where the agent was told of others. */
  const sessions = (stream: NodeStream): AgentMessage | null => {
    const ports: Record<string, number> = {};
    for (const { document } of view.list(sessionRecords)) {
      const { attached } = document;
      if (attached?.nodeId === stream.nodeId) ports[document.id] = attached.port;
    }
    if (isDeepStrictEqual(ports, stream.sessions)) return null;
    stream.sessions = ports;
    return { type: 'sessions', ports };
  };

  const compile = (nodeId: string, id: string): DesiredInstance | null => {
    const spec = view.get(instanceSpecRecords, id)?.document;
    if (spec === undefined || spec.nodeId !== nodeId || view.get(instanceStatusRecords, id)?.document.phase === 'lost') return null;
    const compiled = compileDesired({ view, openValue: deps.openValue }, spec);
    if (compiled.ok) return compiled.instance;
    deps.onImpossible(spec, compiled.reason);
    return null;
  };

  const snapshot = (stream: NodeStream, sequence: number): AgentMessage => {
    stream.dirty.clear();
    stream.sent.clear();
    const instances: DesiredInstance[] = [];
    for (const { document } of view.by(instanceSpecRecords, 'node', stream.nodeId)) {
      const instance = compile(stream.nodeId, document.id);
      if (instance === null) continue;
      stream.sent.set(instance.id, instance.generation);
      instances.push(instance);
    }
    return { type: 'snapshot', sequence, instances };
  };

  /** The next changes, or null where the agent knows them already. */
  const delta = (stream: NodeStream, sequence: number): AgentMessage | null => {
    const put: DesiredInstance[] = [];
    const remove: string[] = [];
    for (const id of stream.dirty) {
      if (put.length + remove.length >= PER_DELTA) break;
      stream.dirty.delete(id);
      const instance = compile(stream.nodeId, id);
      if (instance === null) {
        if (stream.sent.delete(id)) remove.push(id);
      } else if (stream.sent.get(id) !== instance.generation) {
        stream.sent.set(id, instance.generation);
        put.push(instance);
      }
    }
    return put.length === 0 && remove.length === 0 ? null : { type: 'delta', sequence, put, remove };
  };

  async function* messages(nodeId: string, signal: AbortSignal): AsyncGenerator<StreamItem<AgentMessage>> {
    const stream: NodeStream = {
      nodeId,
      wakeup: createWakeup(clock),
      dirty: new Set(),
      sent: new Map(),
      calls: [],
      peers: null,
      sessions: {},
      closed: new AbortController(),
    };
    // The newest connection of a Node is the one that counts; an older one is dead or about to be.
    streams.get(nodeId)?.closed.abort();
    streams.set(nodeId, stream);
    const ended = AbortSignal.any([signal, stream.closed.signal]);
    let sequence = 1;
    try {
      log.info({ nodeId }, 'agent connected');
      // Before anything else: whoever was removed meanwhile shall not be let in for any longer.
      const first = peers(stream);
      if (first !== null) yield { id: null, data: first };
      yield { id: null, data: snapshot(stream, sequence) };
      while (!ended.aborted) {
        const news = peers(stream);
        if (news !== null) yield { id: null, data: news };
        const laptops = sessions(stream);
        if (laptops !== null) yield { id: null, data: laptops };
        const call = stream.calls.shift();
        if (call !== undefined) {
          yield { id: null, data: call };
          continue;
        }
        if (stream.dirty.size > 0) {
          const message = delta(stream, sequence + 1);
          if (message !== null) {
            sequence += 1;
            yield { id: null, data: message };
          }
          continue;
        }
        if (!(await stream.wakeup.wait(PING_MS, ended)) && !ended.aborted) yield { id: null, data: { type: 'ping' } };
      }
    } catch (error) {
      log.error({ nodeId, error: messageOf(error) }, 'desired state cannot be compiled');
      throw error;
    } finally {
      if (streams.get(nodeId) === stream) streams.delete(nodeId);
      log.info({ nodeId }, 'agent disconnected');
    }
  }

  return {
    sync: (call) => {
      if (call.principal.kind !== 'node')
        throw new Failure('forbidden', { message: 'Only an agent may follow the desired state of its Node.' });
      return messages(call.principal.nodeId, call.signal);
    },
    send: (nodeId, call) => {
      const stream = streams.get(nodeId);
      if (stream === undefined || stream.calls.length >= WAITING_CALLS) return false;
      stream.calls.push(call);
      stream.wakeup.wake();
      return true;
    },
    isConnected: (nodeId) => streams.has(nodeId),
    stop: () => {
      unsubscribe();
      for (const stream of streams.values()) stream.closed.abort();
    },
  };
}
