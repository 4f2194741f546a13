// The two ways in which the platform runs, for benchmarks that compare them: the bundled program, built anew, and the sources.

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { Platform, root } from '../test/platform.ts';

export interface Variant {
  readonly name: 'bundle' | 'sources';
  readonly program: string;
}

/** Both variants. Throws what the build said when it fails. */
export function variants(): readonly Variant[] {
  const built = spawnSync(process.execPath, [join(root, 'scripts/build.ts')], { encoding: 'utf8', timeout: 120_000 });
  if (built.status !== 0) throw new Error(`The bundle cannot be built: ${built.stderr}`);
  return [
    { name: 'bundle', program: join(root, 'dist/bin/libra') },
    { name: 'sources', program: join(root, 'bin/libra') },
  ];
}

/** A platform with hello deployed, for the body; it is gone afterwards. */
export async function withHello<T>(variant: Variant, body: (platform: Platform) => Promise<T>): Promise<T> {
  const platform = new Platform({ program: variant.program });
  try {
    await platform.start();
    const deployed = await platform.cli('deploy', join(root, 'examples/hello'), '--yes');
    if (deployed.code !== 0) throw new Error(`hello cannot be deployed: ${deployed.stderr}`);
    return await body(platform);
  } finally {
    await platform.dispose();
  }
}
