// `libra nodes`: the machines, and whether they take new Instances.

import { Failure } from '../../lib/failure.ts';
import { parseBytes } from '../../model/quantity.ts';
import type { ApiClient } from '../api-client.ts';
import type { Command } from '../command.ts';
import { flagOption } from '../options.ts';
import { counted, formatAge, formatBytes } from '../output.ts';
import { insist } from '../prompt.ts';

export const nodes: Command = {
  summary: 'List the Nodes with what they offer and what is asked of them.',
  example: 'libra nodes',
  scope: 'platform',
  run: async (_input, context) => {
    const { output } = context;
    const reply = await (await context.client()).nodes.list({ query: { limit: 500 } });
    const now = context.clock.now();
    output.table(
      ['NODE', 'STATE', 'ROLES', 'RUNTIME', 'DRIVERS', 'INSTANCES', 'CPU ASKED/HAS', 'MEMORY ASKED/HAS', 'SEEN'],
      reply.items.map((node) => [
        node.name,
        node.state + (node.scheduling === 'open' ? '' : `, ${node.scheduling}`),
        node.roles.join(','),
        node.runtime,
        node.drivers.map((driver) => driver.name).join(','),
        String(node.requested.instances),
        `${node.requested.cpu.toFixed(1)}/${node.capacity.cpu}`,
        `${formatBytes(node.requested.memoryBytes)}/${formatBytes(node.capacity.memoryBytes)}`,
        node.lastSeenMs === null ? '' : formatAge(now - node.lastSeenMs),
      ]),
    );
    for (const node of reply.items) {
      for (const driver of node.drivers) {
        for (const [limit, state] of Object.entries(driver.limits))
          if (state !== 'enforced') output.note(output.style('dim', `${node.name}: ${driver.name}: ${limit} not enforced: ${state}`));
      }
    }
    const versions = new Set(reply.items.flatMap(({ version }) => version ?? []));
    if (versions.size > 1)
      for (const { name, version } of reply.items) output.note(output.style('dim', `${name}: Libra ${version ?? 'unknown'}`));
    output.value(reply.items);
    return 0;
  },
};

type NodeChange = NonNullable<Parameters<ApiClient['nodes']['update']>[0]['body']>;

const numberIn = (text: string): number | null => (/^\d{1,9}(?:\.\d{1,9})?$/u.test(text) ? Number(text) : null);

/** The part of the request that one word asks for; null: it is none of what can be set. An empty value takes away. */
function settingOf(name: string, key: string, value: string): NodeChange | null {
  const isGone = value === '';
  const amount = numberIn(value.replace(/%$/u, ''));
  switch (name) {
    case 'label':
      return key === '' ? null : { labels: { [key]: isGone ? null : value } };
    case 'device':
      return key === '' || (amount === null && !isGone) ? null : { devices: { [key]: isGone ? null : amount } };
    case 'overcommit':
      if ((key !== 'cpu' && key !== 'memory') || (amount === null && !isGone)) return null;
      return { overcommit: { [key]: amount ?? 1 } };
    case 'reserve':
      if (key !== '' || (amount === null && !isGone)) return null;
      return { reserved: value.endsWith('%') ? (amount ?? 0) / 100 : (amount ?? 0) };
    case 'volumes': {
      const bytes = parseBytes(value);
      return key !== '' || (bytes === null && !isGone) ? null : { volumeBytes: bytes };
    }
    default:
      return null;
  }
}

/** What words such as `label.disk=ssd` ask for in all. Throws `invalid_input` where one is none of the settings. */
export function changeOf(words: readonly string[]): NodeChange {
  const all: { -readonly [K in keyof NodeChange]: NodeChange[K] } = {};
  for (const word of words) {
    const [, name = '', key = '', value = ''] = /^([a-z]+)(?:\.([^=]+))?=(.*)$/u.exec(word) ?? [];
    const change = settingOf(name, key, value);
    if (change === null) {
      throw new Failure('invalid_input', {
        message: `${JSON.stringify(word.slice(0, 80))} is none of what can be set of a Node.`,
        hint: 'label.disk=ssd, device.gpu=2, overcommit.cpu=2, overcommit.memory=1.5, reserve=10%, volumes=100Gi; an empty value takes it away.',
      });
    }
    const { labels, devices, overcommit, ...rest } = change;
    Object.assign(all, rest);
    if (labels !== undefined) all.labels = { ...all.labels, ...labels };
    if (devices !== undefined) all.devices = { ...all.devices, ...devices };
    if (overcommit !== undefined) all.overcommit = { ...all.overcommit, ...overcommit };
  }
  return all;
}

export const nodesSet: Command = {
  summary: 'Say what a Node has to give beside what its agent reports.',
  details:
    'label.<key>=<value> for placement; device.<name>=<count> for things that Instances get to themselves; overcommit.cpu and overcommit.memory: so many times what it has may be asked for; reserve: share that Instances do not get; volumes: space for volumes instead of that of the disk. An empty value takes it away. What runs there already stays.',
  example: 'libra nodes set node-1 label.disk=ssd device.gpu=2 reserve=10%',
  scope: 'platform',
  arguments: [
    { name: 'node', help: 'name of the Node', required: true },
    { name: 'settings', help: 'name=value', required: true, variadic: true },
  ],
  run: async (input, context) => {
    const body = changeOf(input.arguments['settings'] ?? []);
    const client = await context.client();
    const view = await client.nodes.update({ params: { node: input.arguments['node']?.[0] ?? '' }, body });
    const labels = Object.entries(view.labels).map(([key, value]) => `${key}=${value}`);
    const devices = Object.entries(view.capacity.devices).map(([name, count]) => `${count} ${name}`);
    const { cpu, memoryBytes, volumeBytes } = view.capacity;
    context.output.line(
      `${view.name} has ${[`${cpu} CPU`, `${formatBytes(memoryBytes)} memory`, ...(volumeBytes === null ? [] : [`${formatBytes(volumeBytes)} for volumes`]), ...devices].join(', ')}${labels.length === 0 ? '' : `; ${labels.join(', ')}`}.`,
    );
    context.output.value(view);
    return 0;
  },
};

function scheduling(verb: 'cordon' | 'uncordon' | 'drain', summary: string, done: string): Command {
  return {
    summary,
    example: `libra nodes ${verb} node-1`,
    scope: 'platform',
    arguments: [{ name: 'node', help: 'name of the Node', required: true }],
    run: async (input, context) => {
      const client = await context.client();
      const view = await client.nodes[verb]({ params: { node: input.arguments['node']?.[0] ?? '' } });
      context.output.line(`${view.name} ${done}`);
      context.output.value(view);
      return 0;
    },
  };
}

export const nodesCordon: Command = scheduling('cordon', 'Place nothing new on a Node; what runs there stays.', 'takes nothing new.');
export const nodesUncordon: Command = scheduling('uncordon', 'Open a Node for placement again.', 'is open again.');
export const nodesDrain: Command = scheduling('drain', 'Move everything off a Node, without losing a request.', 'is being emptied.');

export const nodesRemove: Command = {
  summary: 'Take a Node out for good: its machine is known no more.',
  details:
    'It has to be empty: drain it first. With --force what it still has is given up and replaced elsewhere, as for a machine that is gone for good.',
  example: 'libra nodes remove node-2',
  scope: 'platform',
  arguments: [{ name: 'node', help: 'name of the Node', required: true }],
  options: [
    { name: 'force', help: 'although it has Instances' },
    { name: 'yes', short: 'y', help: 'do not ask' },
  ],
  run: async (input, context) => {
    const node = input.arguments['node']?.[0] ?? '';
    const force = flagOption(input, 'force');
    if (force) {
      await insist(context, {
        yes: flagOption(input, 'yes'),
        message: `Give up everything that runs on ${node}?`,
        ifNo: 'Nothing was removed.',
      });
    }
    const client = await context.client();
    const reply = await client.nodes.remove({ params: { node }, query: { force: force ? 'true' : 'false' } });
    const lost = reply.lostInstances === 0 ? '' : `; ${counted(reply.lostInstances, 'Instance')} given up`;
    context.output.line(`${reply.name} was removed${lost}.`);
    context.output.value(reply);
    return 0;
  },
};
