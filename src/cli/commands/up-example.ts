// What `npm start` does beyond `libra up`: deploys the hello example once, so that there is something to look at.

import type { CommandContext } from '../command.ts';
import { deploySource } from '../deploy-flow.ts';
import { readSource } from '../deploy-source.ts';

/** Deploys the example where no App exists yet; prints the URLs of all Apps. */
export async function deployExample(context: CommandContext): Promise<void> {
  const { output, local } = context;
  const client = await context.client();
  const apps = await client.apps.list({ query: { limit: 50 } });
  if (apps.items.length === 0) {
    output.progress('Deploying examples/hello …');
    const source = await readSource(context, local.exampleFolder, { yes: true, app: null });
    const view = await deploySource(context, source, { environment: 'production', label: null, reset: false, quiet: true });
    output.line(`  hello ${view.url ?? ''}`);
    return;
  }
  for (const app of apps.items) {
    for (const environment of app.environments)
      if (environment.url !== null) output.line(`  ${app.name} ${environment.url} (${environment.status})`);
  }
}
