using System.Globalization;
using Storage.Cluster;
using Storage.ObjectStore.Disk;
using Storage.StoreSoak;

// store-soak run FOLDER MINUTES SIZE-BYTES SEED, or as its own child: store-soak store FOLDER SEED MEMORY COMPRESSION PLACE CHECK
switch (args)
{
    case ["run", var folder, var minutes, var size, var seed]:
        return new Supervisor(
            folder,
            TimeSpan.FromMinutes(double.Parse(minutes, CultureInfo.InvariantCulture)),
            long.Parse(size, CultureInfo.InvariantCulture),
            int.Parse(seed, CultureInfo.InvariantCulture)).Run();
    case ["store", var folder, var seed, var memory, var compression, var place, var check]:
        new SoakedStore(
            folder,
            int.Parse(seed, CultureInfo.InvariantCulture),
            long.Parse(memory, CultureInfo.InvariantCulture),
            Enum.Parse<PoolCompression>(compression),
            Enum.Parse<WriteBackPlace>(place),
            bool.Parse(check)).Run();
        return 0;
    default:
        await Console.Error.WriteLineAsync("use tests/soak-store").ConfigureAwait(false);
        return 2;
}
