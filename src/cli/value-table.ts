// Names and versions of values and Secrets, for the two verbs that list them; the values themselves never come out.

import type { ReplyOf } from '../api/endpoint.ts';
import type { ApiTable } from '../api/table.ts';
import type { CommandContext } from './command.ts';
import { formatAge } from './output.ts';

export function printValues(context: CommandContext, items: ReplyOf<ApiTable['env']['list']>['items']): void {
  const now = context.clock.now();
  context.output.table(
    ['NAME', 'VERSION', 'DEPLOYED', 'BY', 'AGE'],
    items.map((item) => [item.name, String(item.version), item.deployed, item.updatedBy, formatAge(now - item.updatedAtMs)]),
  );
  context.output.value(items);
}
