// One session of this machine from its beginning to its end: App and Environment are there, the session is made, the program runs, the
// connection is kept; whichever of these ends, all of it does, and nothing of it is left behind.

import { isFailure, Failure } from '../lib/failure.ts';
import type { EntrypointSpec, Manifest } from '../model/manifest-types.ts';
import type { CommandContext } from './command.ts';
import { readSource } from './deploy-source.ts';
import { callVariables, commandOf, secretsOf, variablesOf } from './dev-program.ts';
import { withApp } from './ensure-app.ts';
import type { LocalProgram } from './laptop.ts';

export interface StandIn {
  readonly environment: string;
  readonly mode: 'personal' | 'replace';
  readonly key: string;
  /** Null: `web`, or the only one. */
  readonly entrypoint: string | null;
  /** Of a program that runs already; null: it is started. */
  readonly port: number | null;
  /** Instead of the Entrypoint's; none: that. */
  readonly command: readonly string[];
  /** Stands in front of what its program writes; null: it has the terminal to itself. */
  readonly label: string | null;
}

/** Resolves with the exit code when the program or the signal ends it. Rejects when the session has ended. */
export async function standIn(context: CommandContext, asked: StandIn): Promise<number> {
  const { laptop } = context.local;
  const { environment, mode, key, label } = asked;
  const manifest = asked.port !== null && context.appFlag !== null ? null : (await readSource(context, undefined, { yes: true })).manifest;
  const spec = manifest === null ? null : entrypointOf(manifest, asked.entrypoint);
  const entrypoint = spec?.name ?? asked.entrypoint ?? 'web';
  const client = await context.client();
  const there = { ...context, environment, app: () => (manifest === null ? context.app() : Promise.resolve(manifest.app)) };
  const forwarder = await laptop.forward();
  const ending = new AbortController();
  const signal = AbortSignal.any([context.signal, ending.signal]);
  let program: LocalProgram | null = null;
  let session: Session | null = null;
  try {
    const made = await withApp(there, (app) =>
      client.sessions.create({
        params: { app, environment },
        body: { entrypoint, mode, key, from: laptop.from, paths: pathsOf(spec), uses: [...(manifest?.uses ?? [])] },
      }),
    );
    session = made;
    const port = asked.port ?? spec?.port ?? (await laptop.freePort());
    if (asked.port === null && manifest !== null && spec !== null) {
      const values = await client.sessions.values({
        params: paramsOf(made),
        body: { secrets: [...secretsOf(manifest, environment, entrypoint)] },
      });
      const variables = variablesOf({ manifest, environment, entrypoint, port, forwarder }, values, (variable, secret) =>
        context.output.warn(`${variable} is left out: the Secret ${secret} is not set in ${made.app}/${environment}.`),
      );
      program = laptop.start({
        argv: commandOf(spec, asked.command, variables, laptop.staticServer),
        folder: context.cwd,
        variables,
        label,
      });
    }
    const connecting = laptop.connect({
      gateway: made.gateway,
      credential: made.credential,
      port,
      forwarder,
      signal,
      onConnected: (again) =>
        again
          ? context.output.note('Connected again.')
          : announce(context, made, port, callVariables(forwarder, { uses: manifest?.uses ?? [] })),
      onLost: (why) => context.output.note(`Not connected: ${why} Trying again …`),
    });
    const code = await Promise.race([connecting.then(() => 0), ...(program === null ? [] : [program.ended])]);
    if (context.signal.aborted) return 0;
    if (program !== null) context.output.note(`The program of ${made.app} has ended (${code}).`);
    return code;
  } finally {
    ending.abort(new Error('libra dev ends'));
    await program?.stop();
    await forwarder.stop();
    if (session !== null)
      await client.sessions.delete({ params: paramsOf(session) }).catch((error: unknown) => {
        // It was revoked, or its time was over.
        if (!isFailure(error, 'not_found')) context.output.warn('The session could not be ended: it ends by itself within ten minutes.');
      });
  }
}

const paramsOf = ({ app, environment, id }: Session): { readonly app: string; readonly environment: string; readonly session: string } => ({
  app,
  environment,
  session: id,
});

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
