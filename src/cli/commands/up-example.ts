// What `npm start` does beyond `libra up`: deploys the hello example once, so that there is something to look at.

import type { CommandContext } from '../command.ts';
import { deploySource } from '../deploy-flow.ts';
import { readSource } from '../deploy-source.ts';

/** How long Apps of an earlier start may take to serve again before they are shown as they are. */
const BACK_MS = 15_000;
const POLL_MS = 100;

/** Deploys the example where no App exists yet; else waits for the Apps of before to serve again. Prints the URLs of all Apps. */
export async function deployExample(context: CommandContext): Promise<void> {
  const { output, local } = context;
  const client = await context.client();
  const list = async (): Promise<Awaited<ReturnType<typeof client.apps.list>>> => await client.apps.list({ query: { limit: 50 } });
  let apps = await list();
  if (apps.items.length === 0) {
    output.progress('Deploying examples/hello …');
    const source = await readSource(context, local.exampleFolder, { yes: true });
    const view = await deploySource(context, source, { environment: 'production', label: null, reset: false, canary: null, quiet: true });
    output.line(`  hello ${view.url ?? ''}`);
    return;
  }
  const until = context.clock.monotonic() + BACK_MS;
  const isBack = (): boolean =>
    apps.items.every((app) => app.environments.every(({ status }) => status !== 'down' && status !== 'degraded'));
  while (!isBack() && context.clock.monotonic() < until && !context.signal.aborted) {
    output.progress('Waiting for the Apps …');
    await context.clock.sleep(POLL_MS, context.signal);
    apps = await list();
  }
  output.progress('');
  for (const app of apps.items) {
    for (const environment of app.environments)
      if (environment.url !== null) output.line(`  ${app.name} ${environment.url} (${environment.status})`);
  }
}
