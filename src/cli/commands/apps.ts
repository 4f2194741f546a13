// `libra apps`: all Apps at a glance; `libra apps delete` takes one away.

import { Failure } from '../../lib/failure.ts';
import { newToken } from '../../lib/id.ts';
import type { Command } from '../command.ts';
import { flagOption } from '../options.ts';
import { insist } from '../prompt.ts';

export const apps: Command = {
  summary: 'List all Apps with the state of their Environments.',
  example: 'libra apps',
  scope: 'platform',
  run: async (_input, context) => {
    const { output } = context;
    const client = await context.client();
    const items = [];
    let cursor: string | undefined;
    do {
      const reply = await client.apps.list({ query: { limit: 500, ...(cursor === undefined ? {} : { cursor }) } });
      items.push(...reply.items);
      cursor = reply.next ?? undefined;
    } while (cursor !== undefined);
    const shown = context.appFlag === null ? items : items.filter((app) => app.name === context.appFlag);
    const rows = shown.flatMap((app) =>
      app.environments.length === 0
        ? [[app.name, '', app.state === 'deleting' ? 'deleting' : 'new', '', '', '']]
        : app.environments.map((environment) => [
            app.name,
            environment.name,
            app.state === 'deleting' ? 'deleting' : environment.status,
            environment.release === null ? '' : String(environment.release),
            `${environment.healthy}/${environment.wanted}`,
            environment.url ?? '',
          ]),
    );
    if (items.length > 0 && rows.length === 0)
      throw new Failure('not_found', { message: `There is no App ${context.appFlag ?? ''}.`, hint: 'libra apps' });
    if (rows.length === 0) output.note("No Apps yet. 'libra deploy path/to/folder' makes one.");
    else output.table(['APP', 'ENVIRONMENT', 'STATE', 'RELEASE', 'HEALTHY', 'URL'], rows);
    output.value(shown);
    return 0;
  },
};

export const appsCreate: Command = {
  summary: 'Make an App without deploying it, to give it values and secrets before its first deploy.',
  example: 'libra apps create shop',
  scope: 'platform',
  arguments: [{ name: 'app', help: 'name of the App', required: true }],
  run: async (input, context) => {
    const { output } = context;
    const client = await context.client();
    const view = await client.apps.create({ body: { name: input.arguments['app']?.[0] ?? '' }, idempotencyKey: newToken('app') });
    output.line(`Made the App ${view.name}. Next: libra deploy in its folder`);
    output.value(view);
    return 0;
  },
};

export const appsDelete: Command = {
  summary:
    'Stop and delete an App with its Releases, values and secrets. What its volumes hold stays in the data folder, under node/volumes.',
  example: 'libra apps delete shop --yes',
  scope: 'platform',
  arguments: [{ name: 'app', help: 'name of the App', required: true }],
  options: [{ name: 'yes', short: 'y', help: 'never ask' }],
  run: async (input, context) => {
    const { output } = context;
    const name = input.arguments['app']?.[0] ?? '';
    const client = await context.client();
    await client.apps.get({ params: { app: name } });
    await insist(context, {
      yes: flagOption(input, 'yes'),
      message: `Delete ${name} with its Releases, values and Secrets? This cannot be undone.`,
      ifNo: 'Nothing was deleted.',
    });
    const view = await client.apps.delete({ params: { app: name }, query: { confirm: name } });
    output.line(`${name} is being deleted.`);
    output.value(view);
    return 0;
  },
};
