// A report comes from a Node, which is trusted with its own Instances and nothing more: what it says is checked and cut to bounds
// before it becomes a record. Unknown fields are ignored (internal contract).

import type { AgentReport, ForwardStatus, InstanceUsage, NodeUsage } from '../../api/agent.ts';
import { Failure } from '../../lib/failure.ts';
import type { DriverInfo, InstancePhase, InstanceStatus, Reason } from '../../model/documents.ts';

const INSTANCES = 5000;
const LAST_LINES = 20;
const LINE_CHARACTERS = 500;
const TEXT_CHARACTERS = 2000;
const LIST_ITEMS = 20;
/** Docker takes no more than 127 layers. */
const IMAGE_PARTS = 150;
/** A host name, or an address of either family. */
const HOST = /^[\w.:-]{1,253}$/u;

const PHASES: ReadonlySet<string> = new Set<InstancePhase>([
  'pending',
  'preparing',
  'starting',
  'running',
  'unhealthy',
  'backoff',
  'stopping',
  'stopped',
  'succeeded',
  'failed',
  'unknown',
]);

type Fields = Readonly<Record<string, unknown>>;

/** The report with every text and list cut to its bound. Throws `invalid_input` where it is not a report at all. */
export function parseReport(report: AgentReport): AgentReport {
  const fields = object(report, 'report');
  const capacity = object(fields['capacity'], 'capacity');
  const platform = object(fields['platform'], 'platform');
  const instances = list(fields['instances'], 'instances', INSTANCES);
  return {
    drivers: list(fields['drivers'], 'drivers', LIST_ITEMS).map(driver),
    capacity: {
      cpu: number(capacity['cpu'], 'capacity.cpu'),
      memoryBytes: number(capacity['memoryBytes'], 'capacity.memoryBytes'),
      ...(capacity['volumeBytes'] === undefined ? {} : { volumeBytes: number(capacity['volumeBytes'], 'capacity.volumeBytes') }),
    },
    platform: { os: text(platform['os'], 'os'), arch: text(platform['arch'], 'arch'), program: text(platform['program'], 'program') },
    bootId: text(fields['bootId'], 'bootId'),
    ...(fields['dataPort'] === undefined ? {} : { dataPort: nullable(fields['dataPort'], dataPort) }),
    instances: instances.map(status),
    ...(fields['usage'] === undefined ? {} : { usage: list(fields['usage'], 'usage', INSTANCES).map(usage) }),
    ...(fields['nodeUsage'] === undefined ? {} : { nodeUsage: nodeUsage(fields['nodeUsage']) }),
    ...(fields['forwarding'] === undefined ? {} : { forwarding: list(fields['forwarding'], 'forwarding', LIST_ITEMS).map(forwarding) }),
  };
}

/** Edges connect to it: it has to be an address or a name, and nothing else. */
function dataPort(value: unknown): { readonly host: string; readonly port: number } {
  const fields = object(value, 'dataPort');
  const host = text(fields['host'], 'dataPort.host');
  const port = number(fields['port'], 'dataPort.port');
  if (!HOST.test(host)) throw wrong('dataPort.host');
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw wrong('dataPort.port');
  return { host, port };
}

function forwarding(value: unknown): ForwardStatus {
  const fields = object(value, 'forwarding');
  return {
    target: text(fields['target'], 'forwarding.target'),
    lines: amount(fields['lines'], 'forwarding.lines'),
    lost: amount(fields['lost'], 'forwarding.lost'),
    failing: nullable(fields['failing'], (raw) => text(raw, 'forwarding.failing')),
  };
}

function usage(value: unknown): InstanceUsage {
  const fields = object(value, 'usage');
  return {
    id: text(fields['id'], 'usage.id'),
    cpuSeconds: amount(fields['cpuSeconds'], 'usage.cpuSeconds'),
    cpu: nullable(fields['cpu'], (raw) => amount(raw, 'usage.cpu')),
    memoryBytes: amount(fields['memoryBytes'], 'usage.memoryBytes'),
    processes: amount(fields['processes'], 'usage.processes'),
    ...bytesOf(fields, 'usage'),
  };
}

function nodeUsage(value: unknown): NodeUsage {
  const fields = object(value, 'nodeUsage');
  const load =
    fields['load'] === undefined ? null : list(fields['load'], 'nodeUsage.load', 3).map((each) => amount(each, 'nodeUsage.load'));
  const [one = 0, five = 0, fifteen = 0] = load ?? [];
  return {
    cpu: nullable(fields['cpu'], (raw) => amount(raw, 'nodeUsage.cpu')),
    ...(fields['cpuSeconds'] === undefined ? {} : { cpuSeconds: amount(fields['cpuSeconds'], 'nodeUsage.cpuSeconds') }),
    ...(fields['memoryBytes'] === undefined ? {} : { memoryBytes: amount(fields['memoryBytes'], 'nodeUsage.memoryBytes') }),
    ...(load === null ? {} : { load: [one, five, fifteen] }),
    ...bytesOf(fields, 'nodeUsage'),
    ...(fields['space'] === undefined ? {} : { space: amounts(fields['space'], 'nodeUsage.space', ['usedBytes', 'sizeBytes']) }),
  };
}

/** Traffic, as far as it is told. */
function bytesOf(fields: Fields, name: string): Pick<InstanceUsage, 'network' | 'disk'> {
  const { network, disk } = fields;
  return {
    ...(network === undefined ? {} : { network: amounts(network, `${name}.network`, ['receivedBytes', 'sentBytes']) }),
    ...(disk === undefined ? {} : { disk: amounts(disk, `${name}.disk`, ['readBytes', 'writtenBytes']) }),
  };
}

function amounts<const Name extends string>(value: unknown, name: string, keys: readonly Name[]): Readonly<Record<Name, number>> {
  const fields = object(value, name);
  const entries = keys.map((key) => [key, amount(fields[key], `${name}.${key}`)] as const);
  // One entry for each of the keys.
  return Object.fromEntries(entries) as Record<Name, number>;
}

function driver(value: unknown): DriverInfo {
  const fields = object(value, 'driver');
  const limits = object(fields['limits'], 'limits');
  return {
    name: text(fields['name'], 'driver.name'),
    artifacts: list(fields['artifacts'], 'artifacts', LIST_ITEMS).filter((kind) => kind === 'bundle' || kind === 'image'),
    ...(fields['containers'] === true ? { containers: true } : {}),
    limits: {
      cpu: text(limits['cpu'], 'limits.cpu'),
      memory: text(limits['memory'], 'limits.memory'),
      user: text(limits['user'], 'limits.user'),
      disk: text(limits['disk'], 'limits.disk'),
      ...(limits['cores'] === undefined ? {} : { cores: text(limits['cores'], 'limits.cores') }),
    },
  };
}

function status(value: unknown): InstanceStatus {
  const fields = object(value, 'instance');
  const address = nullable(fields['address'], (raw) => object(raw, 'address'));
  const exit = nullable(fields['exit'], (raw) => object(raw, 'exit'));
  const output = nullable(fields['output'], (raw) => object(raw, 'output'));
  return {
    id: text(fields['id'], 'id'),
    nodeId: text(fields['nodeId'], 'nodeId'),
    generation: number(fields['generation'], 'generation'),
    phase: phase(fields['phase']),
    healthy: fields['healthy'] === true,
    address: address === null ? null : { host: text(address['host'], 'address.host'), port: number(address['port'], 'address.port') },
    pid: nullable(fields['pid'], (raw) => number(raw, 'pid')),
    restarts: number(fields['restarts'], 'restarts'),
    crashLoop: fields['crashLoop'] === true,
    exit:
      exit === null
        ? null
        : {
            code: nullable(exit['code'], (raw) => number(raw, 'exit.code')),
            signal: nullable(exit['signal'], (raw) => text(raw, 'exit.signal')),
            atMs: number(exit['atMs'], 'exit.atMs'),
          },
    reason: nullable(fields['reason'], reason),
    notEnforced: list(fields['notEnforced'], 'notEnforced', LIST_ITEMS).map((item) => text(item, 'notEnforced').slice(0, LINE_CHARACTERS)),
    startedAtMs: nullable(fields['startedAtMs'], (raw) => number(raw, 'startedAtMs')),
    healthySinceMs: nullable(fields['healthySinceMs'], (raw) => number(raw, 'healthySinceMs')),
    output:
      output === null
        ? null
        : {
            digest: text(output['digest'], 'output.digest'),
            sizeBytes: number(output['sizeBytes'], 'output.sizeBytes'),
            ...(output['parts'] === undefined
              ? {}
              : { parts: list(output['parts'], 'output.parts', IMAGE_PARTS).map((part) => text(part, 'output.parts')) }),
          },
    updatedAtMs: 0,
  };
}

function phase(value: unknown): InstancePhase {
  // The set holds exactly the phases that an agent may report.
  if (typeof value === 'string' && PHASES.has(value)) return value as InstancePhase;
  throw wrong('phase');
}

function reason(value: unknown): Reason {
  const fields = object(value, 'reason');
  return {
    // Shown to people and compared with known codes; one that this version does not know does no harm.
    code: text(fields['code'], 'reason.code') as Reason['code'],
    message: text(fields['message'], 'reason.message'),
    hint: nullable(fields['hint'], (raw) => text(raw, 'reason.hint')),
    lastLines: (Array.isArray(fields['lastLines']) ? fields['lastLines'] : [])
      .slice(-LAST_LINES)
      .map((line) => text(line, 'line').slice(0, LINE_CHARACTERS)),
    instanceId: nullable(fields['instanceId'], (raw) => text(raw, 'reason.instanceId')),
  };
}

function object(value: unknown, name: string): Fields {
  // Any object can be read by string keys; every field is checked when it is read.
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Fields;
  throw wrong(name);
}

function list(value: unknown, name: string, limit: number): readonly unknown[] {
  if (!Array.isArray(value)) throw wrong(name);
  if (value.length > limit) throw new Failure('too_large', { message: `The report names ${value.length} ${name}; ${limit} are allowed.` });
  return value;
}

function text(value: unknown, name: string): string {
  if (typeof value !== 'string') throw wrong(name);
  return value.slice(0, TEXT_CHARACTERS);
}

function number(value: unknown, name: string): number {
  if (typeof value !== 'number' || !Number.isFinite(value)) throw wrong(name);
  return value;
}

function amount(value: unknown, name: string): number {
  const found = number(value, name);
  if (found < 0) throw wrong(name);
  return found;
}

function nullable<T>(value: unknown, parse: (value: unknown) => T): T | null {
  return value === null || value === undefined ? null : parse(value);
}

function wrong(name: string): Failure {
  return new Failure('invalid_input', { message: `The report of the Node has no valid ${name}.` });
}
