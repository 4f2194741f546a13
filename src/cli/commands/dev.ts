// `libra dev`: this machine stands in for an Entrypoint, until Ctrl-C. Its program is started with the values of the Environment, or runs
// already and is named by its port.

import { Failure, isFailure } from '../../lib/failure.ts';
import type { EntrypointSpec, Manifest } from '../../model/manifest-types.ts';
import { isName, toName } from '../../model/names.ts';
import type { Command, CommandContext, CommandInput } from '../command.ts';
import { readSource } from '../deploy-source.ts';
import { callVariables, commandOf, secretsOf, variablesOf } from '../dev-program.ts';
import { withApp } from '../ensure-app.ts';
import type { LocalProgram } from '../laptop.ts';
import { numberOption, textOption } from '../options.ts';
import { formatAge } from '../output.ts';

export const DEV_ENVIRONMENT = 'dev';
const MODES = ['personal', 'replace'] as const;

export const dev: Command = {
  summary: 'Let this machine stand in for an Entrypoint: its requests come to the program in this folder.',
  details:
    'Nothing has to be deployed: App and Environment are made where they lack. With the mode personal only requests that name your key come here, by the host, the header X-Libra-Session, the cookie or the baggage libra-session; everybody else is served by what is deployed. When this machine is gone, that serves your requests too. One connection goes out, through HTTPS_PROXY where that is set; it is made anew when it is lost, under the same URLs. Ctrl-C ends the session.',
  example: 'libra dev --port 3000',
  scope: 'app',
  options: [
    { name: 'environment', short: 'e', value: 'name', help: `Environment to stand in; default: ${DEV_ENVIRONMENT}` },
    { name: 'entrypoint', value: 'name', help: 'Entrypoint to stand in for; default: web, or the only one' },
    { name: 'port', value: 'port', help: 'the program runs already and listens on this port; default: it is started' },
    { name: 'mode', value: 'mode', help: `personal: requests with your key; replace: all of them; default: ${MODES[0]}` },
    { name: 'key', value: 'name', help: 'names your session; default: your user name' },
  ],
  rest: 'command to start instead of that of the Entrypoint',
  run: async (input, context) => {
    const { laptop } = context.local;
    const environment = nameOption(input, 'environment') ?? DEV_ENVIRONMENT;
    const key = nameOption(input, 'key') ?? toName(laptop.user) ?? 'dev';
    const given = textOption(input, 'port') === null ? null : numberOption(input, 'port', { min: 1, max: 65_535, default: 1 });
    const mode = MODES.find((one) => one === (textOption(input, 'mode') ?? MODES[0]));
    if (mode === undefined) throw new Failure('invalid_input', { message: `--mode is one of ${MODES.join(', ')}.` });
    const manifest = given !== null && context.appFlag !== null ? null : (await readSource(context, undefined, { yes: true })).manifest;
    const spec = manifest === null ? null : entrypointOf(manifest, nameOption(input, 'entrypoint'));
    const entrypoint = spec?.name ?? nameOption(input, 'entrypoint') ?? 'web';

    const client = await context.client();
    const there = { ...context, environment, app: () => (manifest === null ? context.app() : Promise.resolve(manifest.app)) };
    const session = await withApp(there, (app) =>
      client.sessions.create({
        params: { app, environment },
        body: { entrypoint, mode, key, from: laptop.from, paths: pathsOf(spec), uses: [...(manifest?.uses ?? [])] },
      }),
    );
    const params = { app: session.app, environment: session.environment, session: session.id };
    const ending = new AbortController();
    const signal = AbortSignal.any([context.signal, ending.signal]);
    let program: LocalProgram | null = null;
    const forwarder = await laptop.forward();
    try {
      const port = given ?? spec?.port ?? (await laptop.freePort());
      if (given === null && manifest !== null && spec !== null) {
        const values = await client.sessions.values({ params, body: { secrets: [...secretsOf(manifest, environment, entrypoint)] } });
        const variables = variablesOf({ manifest, environment, entrypoint, port, forwarder }, values, (variable, secret) =>
          context.output.warn(`${variable} is left out: the Secret ${secret} is not set in ${session.app}/${environment}.`),
        );
        program = laptop.start({ argv: commandOf(spec, input.rest, variables, laptop.staticServer), folder: context.cwd, variables });
      }
      const connecting = laptop.connect({
        gateway: session.gateway,
        credential: session.credential,
        port,
        forwarder,
        signal,
        onConnected: (again) =>
          again
            ? context.output.note('Connected again.')
            : announce(context, session, port, callVariables(forwarder, { uses: manifest?.uses ?? [] })),
        onLost: (why) => context.output.note(`Not connected: ${why} Trying again …`),
      });
      const code = await Promise.race([connecting.then(() => 0), ...(program === null ? [] : [program.ended])]);
      if (program !== null && !context.signal.aborted && !ending.signal.aborted) context.output.note(`The program has ended (${code}).`);
      return context.signal.aborted ? 0 : code;
    } finally {
      ending.abort(new Error('libra dev ends'));
      await program?.stop();
      await forwarder.stop();
      await client.sessions.delete({ params }).catch((error: unknown) => {
        // It was revoked, or its time was over.
        if (!isFailure(error, 'not_found')) context.output.warn(`The session could not be ended: it ends by itself within ten minutes.`);
      });
    }
  },
};

type Session = Awaited<ReturnType<Awaited<ReturnType<CommandContext['client']>>['sessions']['create']>>;

function announce({ output }: CommandContext, session: Session, port: number, calls: Readonly<Record<string, string>>): void {
  const { app, environment, entrypoint, mode, key, url, credential: _secret, gateway: _gateway, ...rest } = session;
  output.line(`${app}/${environment} ${entrypoint} is on this machine, port ${port} (${mode}, key ${key}).`);
  output.line(`  ${url}`);
  if (mode === 'personal') output.line(`  or send X-Libra-Session: ${key}`);
  const services = Object.entries(calls).filter(([name]) => name.startsWith('LIBRA_SERVICE_'));
  if (services.length > 0) output.line('Services that it uses:');
  for (const [name, value] of services) output.line(`  ${name}=${value}`);
  output.note(output.style('dim', 'Ctrl-C ends it.'));
  output.value({ app, environment, entrypoint, mode, key, url, port, variables: calls, ...rest });
}

function nameOption(input: CommandInput, option: string): string | null {
  const text = textOption(input, option);
  if (text === null || isName(text)) return text;
  throw new Failure('invalid_input', { message: `--${option} must be a name such as web, not ${JSON.stringify(text)}.` });
}

function entrypointOf(manifest: Manifest, asked: string | null): EntrypointSpec {
  const all = Object.values(manifest.entrypoints);
  const listening = all.filter((spec) => spec.run === 'service' && spec.listens);
  const found = asked === null ? (listening.find((spec) => spec.name === 'web') ?? listening[0]) : all.find((spec) => spec.name === asked);
  if (found !== undefined && (asked !== null || listening.length === 1 || found.name === 'web')) return found;
  throw new Failure('invalid_input', {
    message:
      asked === null ? 'Which Entrypoint? The manifest has several, and none is called web.' : `The manifest has no Entrypoint ${asked}.`,
    hint: `Name one with --entrypoint: ${all.map((spec) => spec.name).join(', ')}.`,
  });
}

/** Path prefixes of its Routes, for an Environment to which nothing has been deployed. */
function pathsOf(spec: EntrypointSpec | null): string[] {
  const paths = (spec?.routes ?? []).filter((route) => route.pathType !== 'pattern').map((route) => route.path);
  return paths.length === 0 ? ['/'] : [...new Set(paths)].slice(0, 20);
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
