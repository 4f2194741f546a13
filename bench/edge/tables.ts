// A route table of any size, and requests that ask all over it.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { RouteRule } from '../../src/api/dataplane.ts';
import { HOST } from './setting.ts';

const PATHS_PER_HOST = 5;
/** Different requests that are made in turn. */
const REQUESTS = 20_000;

export function rulesOf(count: number): readonly RouteRule[] {
  return Array.from({ length: count }, (_, index) => ({
    host: `h${Math.floor(index / PATHS_PER_HOST)}.${HOST}`,
    path: `/p${index % PATHS_PER_HOST}`,
    headers: {},
    group: 'app',
  }));
}

/** A script for wrk that asks for all rules alike, in no order that a cache could follow. */
export function writeRequests(folder: string, count: number): string {
  const file = join(folder, `requests-${count}.lua`);
  // 7919 is prime: it meets every rule before it meets one twice.
  writeFileSync(
    file,
    `local texts, at = {}, 0
init = function()
  for index = 1, ${REQUESTS} do
    local rule = (index * 7919) % ${count}
    local host = 'h' .. math.floor(rule / ${PATHS_PER_HOST}) .. '.${HOST}'
    texts[index] = wrk.format('GET', '/p' .. (rule % ${PATHS_PER_HOST}) .. '/small', { Host = host })
  end
end
request = function()
  at = at % ${REQUESTS} + 1
  return texts[at]
end
`,
  );
  return file;
}
