// `libra nodes invite` and what became of it: how machines come in.

import { Failure } from '../../lib/failure.ts';
import { formatDuration, parseDurationMs } from '../../model/duration.ts';
import type { Command, CommandInput } from '../command.ts';
import { textOption } from '../options.ts';
import { formatAge } from '../output.ts';

const HOUR_MS = 3_600_000;

function rolesOf(input: CommandInput): ('agent' | 'edge')[] | 'control' {
  const words = (textOption(input, 'roles') ?? 'agent').split(',');
  if (words.length === 1 && words[0] === 'control') return 'control';
  return words.map((word) => {
    if (word === 'agent' || word === 'edge') return word;
    throw new Failure('invalid_input', {
      message: `--roles must be agent, edge, agent,edge or control, not ${JSON.stringify(words.join(','))}.`,
      hint: 'An agent runs Instances, an edge takes requests, a control plane does all of it.',
    });
  });
}

function labelsOf(input: CommandInput): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const pair of textOption(input, 'labels')?.split(',') ?? []) {
    const [, key = '', value = ''] = /^([^=]+)=(.*)$/u.exec(pair) ?? [];
    if (key === '')
      throw new Failure('invalid_input', { message: `--labels must be pairs such as disk=ssd,zone=a, not ${JSON.stringify(pair)}.` });
    labels[key] = value;
  }
  return labels;
}

export const nodesInvite: Command = {
  summary: 'Invite a machine to join: prints the command to run there.',
  details:
    'The token in it is good for one machine and for an hour, unless --expires says otherwise, and is told only this once. The platform has to be reachable for other machines: libra up --api-tls-host.',
  example: 'libra nodes invite --roles agent,edge --labels disk=ssd',
  scope: 'platform',
  options: [
    { name: 'name', value: 'name', help: "name of the Node; default: the machine's host name" },
    { name: 'roles', value: 'roles', help: 'what it may run: agent, edge or both with a comma, or control; default agent' },
    { name: 'runtime', value: 'runtime', help: 'Runtime that it belongs to; default: default' },
    { name: 'labels', value: 'labels', help: 'labels of the Node, such as disk=ssd,zone=a' },
    { name: 'expires', value: 'time', help: 'how long the invitation holds, such as 10m or 1d; default 1h' },
  ],
  run: async (input, context) => {
    const expires = textOption(input, 'expires');
    const expiresInMs = expires === null ? HOUR_MS : parseDurationMs(expires);
    if (expiresInMs === null)
      throw new Failure('invalid_input', { message: `--expires must be a time such as 10m or 1d, not ${JSON.stringify(expires)}.` });
    const name = textOption(input, 'name');
    const client = await context.client();
    const roles = rolesOf(input);
    const common = { expiresInMs, ...(name === null ? {} : { name }) };
    const [labels, runtime] = [labelsOf(input), textOption(input, 'runtime')];
    if (roles === 'control' && (Object.keys(labels).length > 0 || runtime !== null))
      throw new Failure('invalid_input', {
        message: 'A control plane makes its Node itself: it comes without --labels and --runtime.',
        hint: 'Set them when it is there: libra nodes set',
      });
    const reply =
      roles === 'control'
        ? await client.invitations.createControl({ body: common })
        : await client.invitations.create({ body: { ...common, roles, labels, runtime: runtime ?? 'default' } });
    const command = `libra join ${reply.url} --token ${reply.token}`;
    if (roles === 'control')
      context.output.note('Whoever uses it gets the master key and the way to the store: everything that the platform knows.');
    context.output.note(`Run this on the machine within ${formatDuration(expiresInMs)}; it is good for one machine:`);
    context.output.line(command);
    context.output.value({ ...reply, command });
    return 0;
  },
};

export const nodesInvitations: Command = {
  summary: 'List the machines that may join, and those that did lately.',
  example: 'libra nodes invitations',
  scope: 'platform',
  run: async (_input, context) => {
    const reply = await (await context.client()).invitations.list({ query: { limit: 500 } });
    const now = context.clock.now();
    const stateOf = ({ usedBy, expiresAtMs }: (typeof reply.items)[number]): string =>
      usedBy !== null ? `used by ${usedBy}` : expiresAtMs <= now ? 'over' : `open for ${formatAge(expiresAtMs - now)}`;
    context.output.table(
      ['INVITATION', 'NAME', 'ROLES', 'RUNTIME', 'LABELS', 'STATE'],
      reply.items.map((each) => [
        each.id,
        each.name ?? '',
        each.roles.join(','),
        each.runtime,
        Object.entries(each.labels)
          .map(([key, value]) => `${key}=${value}`)
          .join(','),
        stateOf(each),
      ]),
    );
    context.output.value(reply.items);
    return 0;
  },
};

export const nodesUninvite: Command = {
  summary: 'Take an invitation back. A machine that joined with it stays.',
  example: 'libra nodes uninvite 01933b2e-7c5e-7bbd-a5a5-1f0e7b4c9d21',
  scope: 'platform',
  arguments: [{ name: 'invitation', help: 'its id, as `libra nodes invitations` shows it', required: true }],
  run: async (input, context) => {
    const invitation = input.arguments['invitation']?.[0] ?? '';
    await (await context.client()).invitations.delete({ params: { invitation } });
    context.output.line('The invitation was taken back.');
    context.output.value({ invitation, deleted: true });
    return 0;
  },
};

export const nodesCa: Command = {
  summary: 'Print the certificate of the authority that machines know each other by, for command lines elsewhere.',
  details:
    'Its API over TLS (libra up --api-tls-host) shows a certificate of this authority. On another machine: NODE_EXTRA_CA_CERTS=<file> LIBRA_URL=https://… LIBRA_TOKEN=… libra apps',
  example: 'libra nodes ca > libra-machines.pem',
  scope: 'platform',
  run: async (_input, context) => {
    const reply = await (await context.client()).machines.authority({});
    context.output.line(reply.certificate.trimEnd());
    context.output.value(reply);
    return 0;
  },
};
