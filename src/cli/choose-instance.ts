// Which Instance a command reaches into where none is named: a healthy one that gets requests, else any that runs.

import { Failure } from '../lib/failure.ts';
import type { ApiClient } from './api-client.ts';

export async function chooseInstance(
  client: ApiClient,
  params: { readonly app: string; readonly environment: string },
  entrypoint: string | null,
): Promise<string> {
  const { items } = await client.instances.list({ params, query: { all: false } });
  const running = items.filter(
    (item) => item.role === 'service' && item.pid !== null && (entrypoint === null || item.entrypoint === entrypoint),
  );
  const chosen = running.find((item) => item.healthy && !item.draining) ?? running[0];
  if (chosen === undefined)
    throw new Failure('not_found', {
      message: `${params.app} has no running Instance${entrypoint === null ? '' : ` of ${entrypoint}`} in ${params.environment}.`,
      hint: `libra ps --app ${params.app}`,
    });
  return chosen.id;
}
