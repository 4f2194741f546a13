// What control says to Prometheus: text exposition format 0.0.4, counted from the view at each scrape, so that nothing can drift.

import type { InstanceUsage, NodeUsage } from '../api/agent.ts';
import type { Deployment, InstanceSpec } from '../model/documents.ts';
import type { View } from '../store/view.ts';
import { appRecords } from './apps/records.ts';
import type { NodeForwarding } from './cluster/agent-report.ts';
import { instanceStatusRecords, nodeSpecRecords, nodeStatusRecords } from './cluster/records.ts';
import { deploymentRecords, deploymentStatusRecords, environmentRecords, instanceSpecRecords } from './deploys/records.ts';
import type { ReconcilerStatus } from './reconcile.ts';

export interface MetricsInput {
  readonly view: View;
  readonly version: string;
  /** Whether this control plane leads: what machines say is known to that one only. */
  readonly leads: boolean;
  readonly edges: number;
  readonly reconcilers: readonly ReconcilerStatus[];
  readonly usageOf: (spec: InstanceSpec) => InstanceUsage | null;
  readonly nodeUsageOf: (nodeId: string) => NodeUsage | null;
  readonly forwarding: readonly NodeForwarding[];
}

type Labels = Readonly<Record<string, string>>;
type Measure<T> = readonly [name: string, kind: 'gauge' | 'counter', help: string, value: (usage: T) => number | undefined];

const INSTANCE_USAGE: readonly Measure<InstanceUsage>[] = [
  ['cpu_seconds_total', 'counter', 'Time of CPUs that an Instance has taken.', ({ cpuSeconds }) => cpuSeconds],
  ['memory_bytes', 'gauge', 'Memory of an Instance, without what the kernel can drop at once.', ({ memoryBytes }) => memoryBytes],
  ['processes', 'gauge', 'Processes of an Instance.', ({ processes }) => processes],
  ['network_receive_bytes_total', 'counter', 'Bytes that an Instance has received.', ({ network }) => network?.receivedBytes],
  ['network_transmit_bytes_total', 'counter', 'Bytes that an Instance has sent.', ({ network }) => network?.sentBytes],
  ['disk_read_bytes_total', 'counter', 'Bytes that an Instance has read from disks.', ({ disk }) => disk?.readBytes],
  ['disk_written_bytes_total', 'counter', 'Bytes that an Instance has written to disks.', ({ disk }) => disk?.writtenBytes],
];

const NODE_USAGE: readonly Measure<NodeUsage>[] = [
  ['cpu_seconds_total', 'counter', 'Time in which the CPUs of a Node were not idle.', ({ cpuSeconds }) => cpuSeconds],
  ['load1', 'gauge', 'Processes of a Node that ran or wanted to, on average over a minute.', ({ load }) => load?.[0]],
  ['memory_used_bytes', 'gauge', 'Memory of a Node in use, without what its kernel can drop.', ({ memoryBytes }) => memoryBytes],
  ['network_receive_bytes_total', 'counter', 'Bytes that a Node has received, loopback apart.', ({ network }) => network?.receivedBytes],
  ['network_transmit_bytes_total', 'counter', 'Bytes that a Node has sent, loopback apart.', ({ network }) => network?.sentBytes],
  ['disk_read_bytes_total', 'counter', 'Bytes that a Node has read from its disks.', ({ disk }) => disk?.readBytes],
  ['disk_written_bytes_total', 'counter', 'Bytes that a Node has written to its disks.', ({ disk }) => disk?.writtenBytes],
  ['filesystem_size_bytes', 'gauge', 'Size of the file system with the data folder of a Node.', ({ space }) => space?.sizeBytes],
  ['filesystem_used_bytes', 'gauge', 'How much of it is in use.', ({ space }) => space?.usedBytes],
];

/** The whole page, line ends included. */
export function metricsText(input: MetricsInput): string {
  const { view } = input;
  const lines: string[] = [];
  const metric = (name: string, kind: 'gauge' | 'counter', help: string, samples: Iterable<readonly [Labels, number]>): void => {
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${kind}`);
    for (const [labels, value] of samples) lines.push(`${name}${labelText(labels)} ${value}`);
  };
  metric('libra_build_info', 'gauge', 'Version of this control.', [[{ version: input.version }, 1]]);
  metric('libra_control_leads', 'gauge', '1 where this control plane leads.', [[{}, input.leads ? 1 : 0]]);
  metric('libra_apps', 'gauge', 'Apps.', [[{}, view.list(appRecords).length]]);
  metric('libra_environments', 'gauge', 'Environments.', [[{}, view.list(environmentRecords).length]]);
  metric('libra_instances', 'gauge', 'Instances by phase.', counted('phase', instancePhases(view)));
  const usages = measured(input);
  for (const [name, kind, help, value] of INSTANCE_USAGE) metric(`libra_instance_${name}`, kind, help, known(usages, value));
  const { forwarding } = input;
  const ways = (value: (status: NodeForwarding) => number): readonly (readonly [Labels, number])[] =>
    forwarding.map((status) => [{ node: status.node, target: status.target }, value(status)]);
  metric(
    'libra_log_forward_lines_total',
    'counter',
    'Lines of output that were forwarded.',
    ways(({ lines }) => lines),
  );
  metric(
    'libra_log_forward_lost_total',
    'counter',
    'Lines among them that are known to be lost.',
    ways(({ lost }) => lost),
  );
  metric(
    'libra_log_forward_failing',
    'gauge',
    '1 while nothing gets through.',
    ways(({ failing }) => (failing === null ? 0 : 1)),
  );
  metric(
    'libra_deployments',
    'gauge',
    'Kept Deployments by phase.',
    counted(
      'phase',
      view.list(deploymentStatusRecords).map(({ document }) => document.phase),
    ),
  );
  metric(
    'libra_deployments_by_cause',
    'gauge',
    'Kept Deployments by cause.',
    counted(
      'cause',
      view.list(deploymentRecords).map(({ document }): Deployment['cause'] => document.cause),
    ),
  );
  metric(
    'libra_nodes',
    'gauge',
    'Nodes by state.',
    counted(
      'state',
      view.list(nodeSpecRecords).map(({ document }) => view.get(nodeStatusRecords, document.id)?.document.state ?? 'unknown'),
    ),
  );
  const nodes = measuredNodes(input);
  for (const [name, kind, help, value] of NODE_USAGE) metric(`libra_node_${name}`, kind, help, known(nodes, value));
  metric('libra_edges_connected', 'gauge', 'Edges that follow the route table.', [[{}, input.edges]]);
  metric('libra_store_revision', 'counter', 'Revision of the store that this control has seen.', [[{}, view.revision]]);
  const { reconcilers } = input;
  metric(
    'libra_reconciler_runs_total',
    'counter',
    'Passes of a reconciler.',
    reconcilers.map((one) => [{ reconciler: one.name }, one.runs]),
  );
  metric(
    'libra_reconciler_last_duration_seconds',
    'gauge',
    'Duration of its last pass.',
    reconcilers.map((one) => [{ reconciler: one.name }, (one.lastDurationMs ?? 0) / 1000]),
  );
  metric(
    'libra_reconciler_failing',
    'gauge',
    '1 while its last pass failed.',
    reconcilers.map((one) => [{ reconciler: one.name }, one.lastError === null ? 0 : 1]),
  );
  return `${lines.join('\n')}\n`;
}

function instancePhases(view: View): string[] {
  return view.list(instanceSpecRecords).map(({ document }) => view.get(instanceStatusRecords, document.id)?.document.phase ?? 'pending');
}

function measured({ view, usageOf }: MetricsInput): (readonly [Labels, InstanceUsage])[] {
  return view.list(instanceSpecRecords).flatMap(({ document: spec }) => {
    const usage = usageOf(spec);
    if (usage === null) return [];
    const labels = {
      app: view.get(appRecords, spec.appId)?.document.name ?? '',
      environment: (spec.environmentId === null ? undefined : view.get(environmentRecords, spec.environmentId)?.document.name) ?? '',
      entrypoint: spec.entrypoint,
      instance: spec.id,
      node: view.get(nodeSpecRecords, spec.nodeId)?.document.name ?? '',
    };
    return [[labels, usage] as const];
  });
}

function measuredNodes({ view, nodeUsageOf }: MetricsInput): (readonly [Labels, NodeUsage])[] {
  return view.list(nodeSpecRecords).flatMap(({ document: node }) => {
    const usage = nodeUsageOf(node.id);
    return usage === null ? [] : [[{ node: node.name }, usage] as const];
  });
}

/** Samples of those of which the value is known: none is better than a wrong 0. */
function known<T>(all: readonly (readonly [Labels, T])[], value: (usage: T) => number | undefined): (readonly [Labels, number])[] {
  return all.flatMap(([labels, usage]) => {
    const found = value(usage);
    return found === undefined ? [] : [[labels, found] as const];
  });
}

function counted(label: string, values: readonly string[]): [Labels, number][] {
  const counts = new Map<string, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([value, count]) => [{ [label]: value }, count]);
}

function labelText(labels: Labels): string {
  const entries = Object.entries(labels);
  if (entries.length === 0) return '';
  const escaped = (value: string): string => value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
  return `{${entries.map(([name, value]) => `${name}="${escaped(value)}"`).join(',')}}`;
}
