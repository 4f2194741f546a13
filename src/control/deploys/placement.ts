// From records to the scheduler's snapshot and requests. What a Node has given away is counted from its Instances each time.

import { chooseDriver } from '../../model/compatibility.ts';
import type { DriverChoice } from '../../model/compatibility.ts';
import { FINAL_INSTANCE_PHASES } from '../../model/documents.ts';
import type { DriverInfo, InstanceSpec, NodeSpec, NodeStatus } from '../../model/documents.ts';
import type { Build, EntrypointSpec } from '../../model/manifest-types.ts';
import type { View } from '../../store/view.ts';
import { releaseRecords } from '../apps/records.ts';
import { buildArtifact } from '../builds/needs-build.ts';
import { BUILD_RESOURCES } from '../cluster/desired.ts';
import { instanceStatusRecords, nodeSpecRecords, nodeStatusRecords } from '../cluster/records.ts';
import { PIECES } from '../scheduler/cores.ts';
import type { Amount, Ask, NodeRoom, PlacementRequest } from '../scheduler/snapshot.ts';
import { deploymentRecords, instanceSpecRecords } from './records.ts';

/** A room that further Instances are counted into. */
export interface CountedRoom extends NodeRoom {
  readonly used: { cpu: number; memoryBytes: number; volumeBytes: number; readonly devices: Record<string, number> };
  readonly freePieces: number[];
  readonly ports: Set<number>;
  readonly hosts: Set<string>;
  readonly shunned: Map<string, string>;
  readonly perDeployment: Map<string, number>;
  instances: number;
}

/** A Node with what is requested on it now, and how many Instances are on it; as if the services of one Environment were not there, where
 *  that is named. */
export function roomOf(view: View, node: NodeSpec, status: NodeStatus | null, exceptEnvironmentId: string | null = null): CountedRoom {
  const room = emptyRoom(node, status);
  for (const { document: instance } of view.by(instanceSpecRecords, 'node', node.id)) {
    if (!hasEnded(view, instance.id)) countIn(view, room, instance, exceptEnvironmentId);
  }
  return room;
}

/** Whether it holds nothing any more. */
export function hasEnded(view: View, instanceId: string): boolean {
  const phase = view.get(instanceStatusRecords, instanceId)?.document.phase;
  return phase !== undefined && FINAL_INSTANCE_PHASES.has(phase);
}

function emptyRoom(node: NodeSpec, status: NodeStatus | null): CountedRoom {
  const capacity = capacityOf(node, status);
  return {
    id: node.id,
    name: node.name,
    labels: node.labels,
    closed: closedBecause(node, status),
    drivers: status?.drivers ?? [],
    capacity,
    overcommit: node.overcommit ?? { cpu: 1, memory: 1 },
    used: { cpu: 0, memoryBytes: 0, volumeBytes: 0, devices: {} },
    freePieces: Array.from({ length: Math.floor(capacity.cpu) }, () => PIECES),
    ports: new Set(),
    hosts: new Set(),
    shunned: new Map(),
    perDeployment: new Map(),
    instances: 0,
  };
}

/** Adds one that has not ended, unless it is a service of the excepted Environment. */
export function countIn(view: View, room: CountedRoom, instance: InstanceSpec, exceptEnvironmentId: string | null = null): void {
  if (exceptEnvironmentId !== null && instance.environmentId === exceptEnvironmentId && instance.role === 'service') return;
  const { used, freePieces } = room;
  room.instances += 1;
  const spec = entrypointOf(view, instance);
  const ask = askOf(spec?.resources ?? BUILD_RESOURCES, spec?.volumes ?? []);
  // What is kept back now may have been given away before.
  for (const { core, pieces } of instance.cores ?? []) if (core < freePieces.length) freePieces[core] = (freePieces[core] ?? 0) - pieces;
  if (instance.cores === undefined) used.cpu += ask.cpu;
  used.memoryBytes += ask.memoryBytes;
  if (spec !== null && instance.role === 'service') used.volumeBytes += ask.volumeBytes ?? 0;
  for (const [name, count] of Object.entries(ask.devices ?? {})) used.devices[name] = (used.devices[name] ?? 0) + count;
  if (instance.role !== 'service' || spec === null) return;
  if (spec.port !== null && holdsPort(view, instance, spec, room.drivers)) room.ports.add(spec.port);
  // Those that leave keep their room, but not their place in the spread.
  if (instance.desired === 'stop' || instance.draining) return;
  addOne(room.perDeployment, `${instance.deploymentId}/${instance.entrypoint}`);
  const hostKey = `${instance.environmentId}/${instance.entrypoint}`;
  room.hosts.add(hostKey);
  for (const name of spec.placement.apart ?? []) room.shunned.set(`${instance.environmentId}/${name}`, hostKey);
}

/** What Instances may have of a Node. */
function capacityOf({ reserved = 0, devices = {}, volumeBytes: declared }: NodeSpec, status: NodeStatus | null): Amount {
  const { cpu, memoryBytes, volumeBytes: reported } = status?.capacity ?? { cpu: 0, memoryBytes: 0 };
  const left = 1 - reserved;
  const volumeBytes = declared ?? (reported === undefined ? undefined : Math.floor(reported * left));
  return {
    cpu: Math.round(cpu * left * 100) / 100,
    memoryBytes: Math.floor(memoryBytes * left),
    devices,
    ...(volumeBytes === undefined ? {} : { volumeBytes }),
  };
}

function closedBecause(node: NodeSpec, status: NodeStatus | null): string | null {
  if (status === null) return 'its agent has not reported yet';
  if (status.state === 'down') return 'it is down';
  return node.scheduling === 'open' ? null : `it is ${node.scheduling}`;
}

function entrypointOf(view: View, instance: InstanceSpec): EntrypointSpec | null {
  if (instance.deploymentId === null) return null;
  return view.get(deploymentRecords, instance.deploymentId)?.document.entrypoints[instance.entrypoint] ?? null;
}

/** A container has the port inside only. Where it is not known how it runs, the port counts. */
function holdsPort(view: View, { releaseId }: InstanceSpec, spec: EntrypointSpec, drivers: NodeRoom['drivers']): boolean {
  const build = view.get(releaseRecords, releaseId)?.document.manifest.build;
  const choice = build === undefined ? null : chooseDriver(drivers, spec, build);
  return choice === null || !choice.ok || choice.holdsPort;
}

function addOne(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

function askOf({ cpu, memory, devices }: EntrypointSpec['resources'], volumes: EntrypointSpec['volumes']): Ask {
  return {
    cpu: cpu.request,
    bind: cpu.bind,
    memoryBytes: memory.requestBytes,
    volumeBytes: volumes.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    ...(devices === undefined ? {} : { devices }),
  };
}

/** What a slot of an Entrypoint asks of a Node. */
export function requestOf(
  entrypoint: EntrypointSpec,
  build: Build,
  keys: {
    readonly key: string;
    readonly deploymentId: string;
    readonly environmentId: string;
    readonly stickyNodeId: string | null;
    /** A one-off with the resources of this Entrypoint. */
    readonly oneOff?: boolean;
  },
): PlacementRequest {
  const service = entrypoint.run === 'service' && keys.oneOff !== true;
  return {
    key: keys.key,
    // A one-off finds the volumes of the slot that it stands beside.
    ask: askOf(entrypoint.resources, service ? entrypoint.volumes : []),
    // How many stand on each Node is a matter of those that stay.
    strategy: service ? entrypoint.placement.strategy : 'auto',
    labels: entrypoint.placement.labels,
    perNode: service ? entrypoint.placement.perNode : 0,
    deploymentKey: `${keys.deploymentId}/${entrypoint.name}`,
    hostKey: `${keys.environmentId}/${entrypoint.name}`,
    near: service ? (entrypoint.placement.near ?? []).map((name) => `${keys.environmentId}/${name}`) : [],
    apart: service ? (entrypoint.placement.apart ?? []).map((name) => `${keys.environmentId}/${name}`) : [],
    spread: service ? (entrypoint.placement.spread ?? null) : null,
    stickyNodeId: keys.stickyNodeId,
    fixedPort: service ? entrypoint.port : null,
    driver: oncePerKind((drivers) => chooseDriver(drivers, entrypoint, build)),
  };
}

const kindOf = new WeakMap<readonly DriverInfo[], string>();

/** Nodes with the same drivers are many, and each is asked about again and again. */
function oncePerKind(choose: PlacementRequest['driver']): PlacementRequest['driver'] {
  const choices = new Map<string, DriverChoice>();
  return (drivers) => {
    const kind = kindOf.get(drivers) ?? JSON.stringify(drivers);
    kindOf.set(drivers, kind);
    const choice = choices.get(kind) ?? choose(drivers);
    choices.set(kind, choice);
    return choice;
  };
}

/** A build asks for a Node that runs folders. */
export function buildRequest(key: string, build: Build): PlacementRequest {
  const kind = buildArtifact(build);
  return {
    key,
    ask: askOf(BUILD_RESOURCES, []),
    strategy: 'auto',
    labels: {},
    perNode: 0,
    deploymentKey: 'build',
    hostKey: 'build',
    near: [],
    apart: [],
    spread: null,
    stickyNodeId: null,
    fixedPort: null,
    driver: (drivers) => {
      const driver = drivers.find((one) => one.artifacts.includes(kind));
      if (driver !== undefined) return { ok: true, driver: driver.name, holdsPort: false };
      return kind === 'image'
        ? { ok: false, message: 'no driver here builds images', hint: 'A Dockerfile needs a Node with Docker.' }
        : { ok: false, message: 'no driver here runs folders', hint: 'A build needs a Node with the process driver.' };
    },
  };
}

/** Whether, and why, a slot's old Instance must be gone before the new one starts; null: the new one starts first. */
export function stopFirstBecause(view: View, runtimeId: string, spec: EntrypointSpec, build: Build): string | null {
  if (spec.singleton) return 'a singleton is never there twice';
  if (spec.volumes.length > 0) return 'a writable volume has one user at a time';
  if (spec.port === null) return null;
  const nodes = view.by(nodeSpecRecords, 'runtime', runtimeId).map(({ document }) => view.get(nodeStatusRecords, document.id)?.document);
  const onMachine = nodes.some((node) => {
    const choice = chooseDriver(node?.drivers ?? [], spec, build);
    return choice.ok && choice.holdsPort;
  });
  return onMachine ? `port ${spec.port} is fixed, so a Node has room for one` : null;
}
