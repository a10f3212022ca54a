using System.Diagnostics;
using System.Globalization;
using Storage.Cluster;
using Storage.Crush;
using Storage.Crush.Editing;
using Storage.Scale.Bench;

// What a large cluster's map costs: sizes of the whole map and of one increment, time to pack, unpack and apply, and to place every PG
// anew after one OSD went down, out or came back; and what a monitor costs to which all of them are subscribed.
//
//     scale-bench [--osds 10000] [--pgs 262144] [--export FILE]     (FILE: the CRUSH map's text form, for crushtool --test beside it)
int osds = Option("--osds", 10_000);
int groups = Option("--pgs", 262_144);
const int HostsPerRack = 10, DevicesPerHost = 20;

var builder = new CrushMapBuilder(CrushMap.CreateDefault("host"));
for (int i = 0; i < osds; i++)
{
    int host = i / DevicesPerHost;
    builder.PlaceDevice(i, $"osd.{i}", 1 + (i % 3 * 0.5), null, [("root", "default"), ("rack", $"rack{host / HostsPerRack}"), ("host", $"host{host}")]);
}

CrushMap crush = builder.Build();
if (Array.IndexOf(args, "--export") is >= 0 and int at)
{
    File.WriteAllText(args[at + 1], crush.DecompileText());
}

ClusterMap map = ClusterMap.Create(Guid.NewGuid(), 1, [MonitorLoad.Self], crush);
var founding = new ClusterMapIncrement { Epoch = map.Epoch.Next };
for (int i = 0; i < osds; i++)
{
    founding.Osds.Add(new OsdInfo { Id = new OsdId(i), Uuid = Guid.NewGuid(), IsUp = true, Weight = OsdInfo.FullWeight });
}

founding.Pools.Add(new PoolInfo { Id = 1, Name = "volumes", Size = 3, PgCount = groups });
map = map.Apply(founding);

Console.WriteLine(Line($"{osds} OSDs, {groups} PGs of 3 copies"));
byte[] packed = map.Encode();
Report("pack the whole map", 5, () => map.Encode(), $"{packed.Length / 1024.0:0} KiB");
Report("unpack it", 5, () => ClusterMap.Decode(packed));
for (int i = 0; i < 2; i++)
{
    // Twice: the first run compiles.
    ClusterMap fresh = ClusterMap.Decode(packed);
    TimeSpan all = Time(() => PlaceAll(fresh));
    if (i > 0)
    {
        Console.WriteLine(Line($"{"place every PG from nothing",-46} {all.TotalMilliseconds,10:0.00} ms   {all.TotalMicroseconds / groups:0.00} us each"));
    }

    map = fresh;
}

new MonitorLoad(map, osds).Run();
Change("one OSD goes down", osd => osd with { IsUp = false });
Change("it is marked out", osd => osd with { Weight = 0 });
Change("it comes back and in: every PG is chosen anew", osd => osd with { IsUp = true, Weight = OsdInfo.FullWeight });

void Change(string what, Func<OsdInfo, OsdInfo> change)
{
    var increment = new ClusterMapIncrement { Epoch = map.Epoch.Next };
    increment.Osds.Add(change(map.FindOsd(new OsdId(osds / 2))!));
    byte[] bytes = increment.ToArray();
    ClusterMap before = map;
    TimeSpan apply = Time(() => map = before.Apply(ClusterMapIncrement.Decode(bytes)));
    TimeSpan place = Time(() => PlaceAll(map));
    Console.WriteLine(Line($"{what,-46} {(apply + place).TotalMilliseconds,10:0.00} ms   increment of {bytes.Length} bytes: applied in {apply.TotalMilliseconds:0.00} ms, every PG placed in {place.TotalMilliseconds:0.00} ms"));
}

static void PlaceAll(ClusterMap map)
{
    foreach (PoolInfo pool in map.Pools)
    {
        for (uint seed = 0; seed < (uint)pool.PgCount; seed++)
        {
            map.Locate(new PgId(pool.Id, seed));
        }
    }
}

static void Report(string what, int times, Action action, FormattableString? more = null)
{
    TimeSpan best = Enumerable.Range(0, times).Select(_ => Time(action)).Min();
    Console.WriteLine(Line($"{what,-46} {best.TotalMilliseconds,10:0.00} ms   {(more is null ? "" : FormattableString.Invariant(more))}"));
}

static TimeSpan Time(Action action)
{
    long start = Stopwatch.GetTimestamp();
    action();
    return Stopwatch.GetElapsedTime(start);
}

static string Line(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

int Option(string name, int otherwise) =>
    Array.IndexOf(args, name) is >= 0 and int at ? int.Parse(args[at + 1], CultureInfo.InvariantCulture) : otherwise;
