// The typed client of the whole API, as the command line makes it: over node:http, because loading fetch costs every command more time
// than all the rest of it together.

import { createClient } from '../api/client.ts';
import type { Client } from '../api/client.ts';
import { table } from '../api/table.ts';
import type { ApiTable } from '../api/table.ts';
import { httpFetch } from '../sys/http-fetch.ts';

export type ApiClient = Client<ApiTable>;

export function connect(address: { readonly url: string; readonly token: string }): ApiClient {
  return createClient(table, { ...address, fetch: httpFetch });
}
