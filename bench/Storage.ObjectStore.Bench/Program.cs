using System.Globalization;
using Storage.Cluster;
using Storage.ObjectStore.Bench;
using Storage.ObjectStore.Disk;

const string Usage = """
    Measures the store of one disk alone, beside fio on the same preallocated file.

        store-bench --dir FOLDER [--size 4GiB] [--working-set 1GiB] [--seconds 10] [--mixed-seconds 60] [--small-objects 100000]
                    [--memory BYTES] [--place Adaptive|InPlace|NewSpace] [--compression none|lz4|zstd]
                    [--only PART[,PART…]] [--no-fio]

    FOLDER must be new or empty; it is left behind. The file 'block' in it may be a link to a raw device, whose content is lost.
    PART is one of: fio, prefill, overwrite1, overwrite32, log32, write4m, read4m, readcold, readhot, omap, remove, mixed, small; and where named, deep4k, deep64k, deep4m: writes as deep as bench/store-peer compares them.
    "mixed" reads and writes large data and makes many small objects, until caches fill the memory target; it ends with what of it was resident.
    "gap" is the longest time without an operation that ended, "pause" how late a timer of a millisecond came, "own" the processor time that the loop's thread took
    meanwhile: what checkpoints and all else on the loop cost others, without what the scheduler and garbage add.
    """;
var settings = new BenchSettings();
try
{
    for (int i = 0; i < args.Length; i++)
    {
        string Next() => ++i < args.Length ? args[i] : throw new FormatException($"{args[i - 1]} needs a value");
        switch (args[i])
        {
            case "--dir":
                settings = settings with { Folder = Next() };
                break;
            case "--size":
                settings = settings with { Size = BenchSettings.ParseBytes(Next()) };
                break;
            case "--working-set":
                settings = settings with { WorkingSet = BenchSettings.ParseBytes(Next()) };
                break;
            case "--seconds":
                settings = settings with { Duration = TimeSpan.FromSeconds(double.Parse(Next(), CultureInfo.InvariantCulture)) };
                break;
            case "--mixed-seconds":
                settings = settings with { MixedDuration = TimeSpan.FromSeconds(double.Parse(Next(), CultureInfo.InvariantCulture)) };
                break;
            case "--small-objects":
                settings = settings with { SmallObjects = int.Parse(Next(), CultureInfo.InvariantCulture) };
                break;
            case "--memory":
                settings = settings with { Memory = BenchSettings.ParseBytes(Next()) };
                break;
            case "--place":
                settings = settings with { Place = Enum.Parse<WriteBackPlace>(Next()) };
                break;
            case "--compression":
                settings = settings with { Compression = Enum.Parse<PoolCompression>(Next(), ignoreCase: true) };
                break;
            case "--only":
                settings = settings with { Only = [.. Next().Split(',')] };
                break;
            case "--no-fio":
                settings = settings with { Fio = false };
                break;
            default:
                throw new FormatException($"unknown argument {args[i]}");
        }
    }

    if (settings.Folder.Length == 0)
    {
        throw new FormatException("--dir is missing");
    }
}
catch (FormatException error)
{
    await Console.Error.WriteLineAsync(error.Message + "\n\n" + Usage).ConfigureAwait(false);
    return 2;
}

StoreBench.Run(settings);
return 0;
