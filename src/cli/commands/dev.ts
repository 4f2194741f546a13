// `libra dev`: this machine stands in for an Entrypoint, until Ctrl-C. Its program is started with the values of the Environment, or runs
// already and is named by its port.

import { access, readdir } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { Failure } from '../../lib/failure.ts';
import { isName, toName } from '../../model/names.ts';
import type { Command, CommandContext, CommandInput } from '../command.ts';
import type { OptionSpec } from '../option-spec.ts';
import { numberOption, textOption } from '../options.ts';
import { formatAge } from '../output.ts';
import { standIn } from '../stand-in.ts';
import type { StandIn } from '../stand-in.ts';

const DEV_ENVIRONMENT = 'dev';
const MODES = ['personal', 'replace'] as const;
const ENVIRONMENT: OptionSpec = {
  name: 'environment',
  short: 'e',
  value: 'name',
  help: `Environment to stand in; default: ${DEV_ENVIRONMENT}`,
};
const MODE: OptionSpec = {
  name: 'mode',
  value: 'mode',
  help: `personal: requests with your key; replace: all of them; default: ${MODES[0]}`,
};
const KEY: OptionSpec = { name: 'key', value: 'name', help: 'names your session; default: your user name' };

export const dev: Command = {
  summary: 'Let this machine stand in for an Entrypoint: its requests come to the program in this folder.',
  details:
    'Nothing has to be deployed: App and Environment are made where they lack. With the mode personal only requests that name your key come here, by the host, the header X-Libra-Session, the cookie or the baggage libra-session; everybody else is served by what is deployed. When this machine is gone, that serves your requests too. One connection goes out, through HTTPS_PROXY where that is set; it is made anew when it is lost, under the same URLs. Ctrl-C ends the session.',
  example: 'libra dev --port 3000',
  scope: 'app',
  options: [
    ENVIRONMENT,
    { name: 'entrypoint', value: 'name', help: 'Entrypoint to stand in for; default: web, or the only one' },
    { name: 'port', value: 'port', help: 'the program runs already and listens on this port; default: it is started' },
    MODE,
    KEY,
  ],
  rest: 'command to start instead of that of the Entrypoint',
  run: async (input, context) => {
    const given = textOption(input, 'port') === null ? null : numberOption(input, 'port', { min: 1, max: 65_535, default: 1 });
    return await standIn(context, {
      ...whereOf(input, context),
      entrypoint: nameOption(input, 'entrypoint'),
      port: given,
      command: input.rest,
      label: null,
    });
  },
};

/** More than anybody looks at beside each other. */
const MOST_FOLDERS = 50;

export const devUp: Command = {
  summary: 'Let this machine stand in for several Apps at once, under one key.',
  details:
    'As libra dev in each of the folders; without any, in each folder below this one that has a libra.yaml. What their programs write has the name of the App in front. When one of them ends, all do.',
  example: 'libra dev up shop billing',
  scope: 'platform',
  arguments: [{ name: 'folders', help: 'folders of Apps', required: false, variadic: true }],
  options: [ENVIRONMENT, MODE, KEY],
  run: async (input, context) => {
    const folders = input.arguments['folders'] ?? [];
    const found = folders.length > 0 ? folders : await foldersBelow(context.cwd);
    if (found.length === 0)
      throw new Failure('invalid_input', {
        message: 'No folder below this one has a libra.yaml.',
        hint: 'Name the folders of the Apps: libra dev up shop billing',
      });
    if (found.length > MOST_FOLDERS)
      throw new Failure('invalid_input', { message: `At most ${MOST_FOLDERS} Apps at once, not ${found.length}.` });
    const ending = new AbortController();
    const signal = AbortSignal.any([context.signal, ending.signal]);
    const where = whereOf(input, context);
    const codes = await Promise.allSettled(
      found.map(async (folder) => {
        try {
          const its = { ...context, signal, cwd: resolve(context.cwd, folder) };
          return await standIn(its, { ...where, entrypoint: null, port: null, command: [], label: basename(resolve(context.cwd, folder)) });
        } finally {
          ending.abort(new Error('another one has ended'));
        }
      }),
    );
    for (const one of codes) if (one.status === 'rejected') throw one.reason;
    return Math.max(...codes.map((one) => (one.status === 'fulfilled' ? one.value : 1)));
  },
};

async function foldersBelow(cwd: string): Promise<readonly string[]> {
  const entries = await readdir(cwd, { withFileTypes: true });
  const folders = entries.filter((entry) => entry.isDirectory() && entry.name !== 'node_modules' && !entry.name.startsWith('.'));
  const has = await Promise.all(
    folders.map(({ name }) =>
      access(join(cwd, name, 'libra.yaml')).then(
        () => true,
        () => false,
      ),
    ),
  );
  return folders.filter((_folder, index) => has[index] === true).map(({ name }) => name);
}

function whereOf(input: CommandInput, context: CommandContext): Pick<StandIn, 'environment' | 'mode' | 'key'> {
  const mode = MODES.find((one) => one === (textOption(input, 'mode') ?? MODES[0]));
  if (mode === undefined) throw new Failure('invalid_input', { message: `--mode is one of ${MODES.join(', ')}.` });
  return {
    environment: nameOption(input, 'environment') ?? DEV_ENVIRONMENT,
    mode,
    key: nameOption(input, 'key') ?? toName(context.local.laptop.user) ?? 'dev',
  };
}

function nameOption(input: CommandInput, option: string): string | null {
  const text = textOption(input, option);
  if (text === null || isName(text)) return text;
  throw new Failure('invalid_input', { message: `--${option} must be a name such as web, not ${JSON.stringify(text)}.` });
}

export const devLs: Command = {
  summary: 'List the sessions of an App: whose machine stands in for what.',
  example: 'libra dev ls --app shop',
  scope: 'app',
  run: async (_input, context) => {
    const client = await context.client();
    const app = await context.app();
    const { environments } = await client.apps.get({ params: { app } });
    const lists = await Promise.all(environments.map(({ name }) => client.sessions.list({ params: { app, environment: name } })));
    const items = lists.flatMap((list) => list.items);
    const now = context.clock.now();
    context.output.table(
      ['SESSION', 'ENVIRONMENT', 'ENTRYPOINT', 'MODE', 'KEY', 'WHOSE', 'CONNECTED', 'SINCE'],
      items.map((one) => [
        one.id,
        one.environment,
        one.entrypoint,
        one.mode,
        one.key,
        `${one.owner} (${one.from})`,
        one.connected ? 'yes' : 'no',
        formatAge(now - one.createdAtMs),
      ]),
    );
    context.output.value(items);
    return 0;
  },
};

export const devRevoke: Command = {
  summary: 'End a session: its machine is cut off, and what is deployed serves again.',
  example: 'libra dev revoke 01933b2e-7c5e-7bbd-a5a5-1f0e7b4c9d21 --app shop',
  scope: 'app',
  arguments: [{ name: 'session', help: 'its id, as `libra dev ls` shows it', required: true }],
  run: async (input, context) => {
    const client = await context.client();
    const app = await context.app();
    const session = input.arguments['session']?.[0] ?? '';
    const { environments } = await client.apps.get({ params: { app } });
    for (const { name } of environments) {
      const { items } = await client.sessions.list({ params: { app, environment: name } });
      const found = items.find((one) => one.id === session);
      if (found === undefined) continue;
      await client.sessions.delete({ params: { app, environment: name, session } });
      context.output.line(`Ended the session ${found.key} of ${found.owner} (${found.from}).`);
      context.output.value({ session, ended: true });
      return 0;
    }
    throw new Failure('not_found', { message: `${app} has no session ${session}.`, hint: '`libra dev ls` lists them.' });
  },
};
