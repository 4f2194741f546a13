// Writes every golden file anew from what the program says now. Look at the diff before you commit it.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { goldenFolder, goldens } from '../test/golden/goldens.ts';

for (const [name, make] of Object.entries(goldens)) {
  writeFileSync(join(goldenFolder, name), await make());
  console.log(`test/golden/${name}`);
}
