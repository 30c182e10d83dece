//! Reading the catalogue's files. They are embedded, so a malformed one is a defect of the program: a test reads all of it.

use super::{
    Price,
    catalogue::{ListPrice, TypeIndex, Zone},
    machine_type::{
        Cpu, Device, DiskGroup, Ebs, EbsCard, EbsLimits, Features, Gpu, InstanceStore, MachineType, Network,
        NetworkCard, NeuronDevice,
    },
};
use std::{collections::BTreeMap, str::FromStr};

type Index = BTreeMap<&'static str, TypeIndex>;

/// One line of a file, read by column name.
struct Row<'t> {
    columns: &'t [&'static str],
    fields: Vec<&'static str>,
    /// Where the last look-up ended: columns are asked for nearly in order, so that finding one is a step, not a search.
    next: usize,
}

impl Row<'_> {
    fn text(&mut self, column: &str) -> &'static str {
        let count = self.columns.len();
        let place = (0..count).map(|step| (self.next + step) % count).find(|place| self.columns[*place] == column);
        let place = place.expect("the embedded catalogue has every column that is read");
        self.next = place + 1;
        self.fields[place]
    }

    fn optional(&mut self, column: &str) -> Option<&'static str> {
        Some(self.text(column)).filter(|text| !text.is_empty())
    }

    fn words(&mut self, column: &str) -> Vec<&'static str> {
        self.text(column).split_whitespace().collect()
    }

    fn flag(&mut self, column: &str) -> bool {
        self.text(column) == "1"
    }

    fn number<N: FromStr>(&mut self, column: &str) -> N {
        number(self.text(column))
    }

    fn optional_number<N: FromStr>(&mut self, column: &str) -> Option<N> {
        self.optional(column).map(number)
    }
}

fn number<N: FromStr>(text: &str) -> N {
    text.parse().ok().expect("the embedded catalogue has a number where one is read")
}

/// Calls `each` for every row below the header; `#` starts a comment line.
fn rows<T>(file: &'static str, mut each: impl FnMut(&mut Row<'_>) -> T) -> Vec<T> {
    let mut lines = file.lines().filter(|line| !line.starts_with('#'));
    let columns: Vec<&'static str> = lines.next().unwrap_or_default().split(',').collect();
    lines
        .map(|line| {
            let mut fields = Vec::with_capacity(columns.len());
            fields.extend(line.split(','));
            each(&mut Row { columns: &columns, fields, next: 0 })
        })
        .collect()
}

/// The zones, in the file's order.
pub(crate) fn zones(file: &'static str) -> Vec<Zone> {
    rows(file, |row| Zone {
        region: row.text("region"),
        name: row.text("zone"),
        id: row.text("zone_id"),
        kind: row.text("zone_type"),
        opt_in: row.text("opt_in"),
    })
}

/// List prices by region and type.
type ListPrices = BTreeMap<(&'static str, TypeIndex), ListPrice>;

/// The list prices, and the spot ratios in thousandths.
pub(crate) fn prices(file: &'static str, index: &Index) -> (ListPrices, BTreeMap<TypeIndex, u64>) {
    let mut prices = BTreeMap::new();
    let mut ratios = BTreeMap::new();
    rows(file, |row| {
        let place = index[row.text("type")];
        for (region, source) in REGION_COLUMNS {
            if let Some(price) = row.optional(region) {
                let price: Price = price.parse().expect("the embedded catalogue has a price where one is read");
                prices.insert((region, place), ListPrice { price, source: row.text(source) });
            }
        }
        if let Some(ratio) = row.optional("spot_ratio") {
            let ratio: Price = ratio.parse().expect("the embedded catalogue has a ratio where one is read");
            ratios.insert(place, ratio.nanos() / 1_000_000);
        }
    });
    (prices, ratios)
}

const REGION_COLUMNS: [(&str, &str); 3] =
    [("us-east-1", "us-east-1_source"), ("us-west-2", "us-west-2_source"), ("eu-west-1", "eu-west-1_source")];

/// The zones' last letters by region and type.
pub(crate) fn offerings(file: &'static str, index: &Index) -> BTreeMap<(&'static str, TypeIndex), &'static str> {
    let mut offered = BTreeMap::new();
    rows(file, |row| {
        let place = index[row.text("type")];
        for (region, _) in REGION_COLUMNS {
            if let Some(letters) = row.optional(region) {
                offered.insert((region, place), letters);
            }
        }
    });
    offered
}

/// The machine types, in the file's order, which is by name.
pub(crate) fn machine_types(file: &'static str) -> Vec<MachineType> {
    rows(file, machine_type)
}

fn machine_type(row: &mut Row<'_>) -> MachineType {
    MachineType {
        name: row.text("type"),
        current_generation: row.flag("current_generation"),
        bare_metal: row.flag("bare_metal"),
        hypervisor: row.optional("hypervisor"),
        architectures: row.words("architectures"),
        cpu: cpu(row),
        memory_mib: row.number("memory_mib"),
        usage_classes: row.words("usage_classes"),
        virtualization_types: row.words("virtualization"),
        boot_modes: row.words("boot_modes"),
        root_device_types: row.words("root_devices"),
        features: features(row),
        placement_strategies: row.words("placement_strategies"),
        ebs: ebs(row),
        instance_store: instance_store(row),
        network: network(row),
        gpus: elements(row.text("gpus"), gpu),
        accelerators: elements(row.text("accelerators"), device),
        neuron_devices: elements(row.text("neuron"), neuron_device),
        fpgas: elements(row.text("fpgas"), device),
        media_accelerators: elements(row.text("media_accelerators"), device),
    }
}

fn cpu(row: &mut Row<'_>) -> Cpu {
    Cpu {
        manufacturer: row.text("cpu_manufacturer"),
        clock_ghz: row.optional("clock_ghz"),
        features: row.words("cpu_features"),
        vcpus: row.number("vcpus"),
        cores: row.number("cores"),
        threads_per_core: row.number("threads_per_core"),
        valid_cores: ranges(row.text("valid_cores")),
        valid_threads_per_core: ranges(row.text("valid_threads_per_core")),
    }
}

fn features(row: &mut Row<'_>) -> Features {
    Features {
        burstable: row.flag("burstable"),
        hibernation: row.flag("hibernation"),
        auto_recovery: row.flag("auto_recovery"),
        dedicated_hosts: row.flag("dedicated_hosts"),
        free_tier: row.flag("free_tier"),
        enclaves: row.flag("enclaves"),
        nitro_tpm: row.flag("nitro_tpm"),
        phc: row.flag("phc"),
        reboot_migration: row.flag("reboot_migration"),
    }
}

fn ebs(row: &mut Row<'_>) -> Ebs {
    let optimized = row.text("ebs_optimized");
    let bandwidth = row.text("ebs_bandwidth_mbps").split_once('/');
    let iops = row.text("ebs_iops").split_once('/');
    let throughput = row.text("ebs_throughput_mbs").split_once('/');
    let limits = bandwidth.zip(iops).zip(throughput).map(|((bandwidth, iops), throughput)| {
        (
            EbsLimits { bandwidth_mbps: number(bandwidth.0), throughput_mbs: throughput.0, iops: number(iops.0) },
            EbsLimits { bandwidth_mbps: number(bandwidth.1), throughput_mbs: throughput.1, iops: number(iops.1) },
        )
    });
    Ebs {
        optimized,
        baseline: limits.map(|(baseline, _)| baseline),
        maximum: limits.map(|(_, maximum)| maximum),
        nvme: row.text("ebs_nvme"),
        max_attachments: row.number("ebs_max_attachments"),
        attachment_limit_type: row.text("ebs_attachment_limit"),
        cards: elements(row.text("ebs_cards"), ebs_card),
    }
}

fn ebs_card(parts: &[&'static str]) -> EbsCard {
    let limits = |from: usize| EbsLimits {
        bandwidth_mbps: number(parts[from]),
        throughput_mbs: parts[from + 1],
        iops: number(parts[from + 2]),
    };
    EbsCard { index: number(parts[0]), baseline: limits(1), maximum: limits(4) }
}

fn instance_store(row: &mut Row<'_>) -> Option<InstanceStore> {
    let disks = row.text("store_disks").split(';').filter(|disks| !disks.is_empty()).map(disk_group).collect();
    Some(InstanceStore {
        disks,
        total_gb: row.optional_number("store_total_gb")?,
        encryption: row.text("store_encryption"),
        nvme: row.text("store_nvme"),
    })
}

fn disk_group(text: &'static str) -> DiskGroup {
    let (count, size) = text.split_once('x').expect("the embedded catalogue writes disks as COUNTxSIZEkind");
    let digits = size.find(|character: char| !character.is_ascii_digit()).unwrap_or(size.len());
    DiskGroup { count: number(count), size_gb: number(&size[..digits]), kind: &size[digits..] }
}

fn network(row: &mut Row<'_>) -> Network {
    Network {
        performance: row.text("net_performance"),
        max_interfaces: row.number("net_max_interfaces"),
        cards: network_cards(row.text("net_cards")),
        default_card: row.number("net_default_card"),
        ipv4_per_interface: row.number("ipv4_per_interface"),
        ipv4_per_secondary_interface: row.optional_number("ipv4_per_secondary_interface"),
        ipv6_per_interface: row.optional_number("ipv6_per_interface").unwrap_or(0),
        ipv6: row.flag("ipv6"),
        ena: row.text("ena"),
        ena_srd: row.flag("ena_srd"),
        flexible_ena_queues: row.flag("flex_ena"),
        efa_max_interfaces: row.optional_number("efa_max"),
        encryption_in_transit: row.flag("encryption_in_transit"),
        tcp_established_timeout_s: row.number("conntrack_tcp_default_s"),
        bandwidth_weightings: row.words("bandwidth_weightings"),
        label_bandwidth_mbps: row.optional_number("label_bandwidth_mbps"),
        trunk_branch_interfaces: row.optional_number("trunk_branch_interfaces"),
    }
}

fn network_cards(text: &'static str) -> Vec<NetworkCard> {
    let groups = elements(text, |parts| {
        let (count, interfaces) =
            parts[0].split_once('x').expect("the embedded catalogue writes cards as COUNTxINTERFACES");
        (number::<u32>(count), network_card(number(interfaces), parts))
    });
    let cards = groups.into_iter().flat_map(|(count, card)| (0..count).map(move |_| card.clone()));
    cards.zip(0..).map(|(card, index)| NetworkCard { index, ..card }).collect()
}

fn network_card(max_interfaces: u32, parts: &[&'static str]) -> NetworkCard {
    let some = |place: usize| Some(parts[place]).filter(|text| !text.is_empty());
    NetworkCard {
        index: 0,
        performance: parts[1],
        max_interfaces,
        baseline_gbps: some(2),
        peak_gbps: some(3),
        efa: parts[4].contains('e'),
        default_ena_queues: some(5).map(number),
        max_ena_queues: some(6).map(number),
        max_ena_queues_per_interface: some(7).map(number),
        flexible_interfaces: some(8).map(number),
    }
}

fn gpu(parts: &[&'static str]) -> Gpu {
    let some = |place: usize| Some(parts[place]).filter(|text| !text.is_empty());
    Gpu {
        name: parts[0],
        manufacturer: parts[1],
        count: number(parts[2]),
        memory_mib: number(parts[3]),
        partition_size: some(4),
        logical_count: some(5).map(number),
        workloads: parts[6].split_whitespace().collect(),
    }
}

fn device(parts: &[&'static str]) -> Device {
    Device { name: parts[0], manufacturer: parts[1], count: number(parts[2]), memory_mib: number(parts[3]) }
}

fn neuron_device(parts: &[&'static str]) -> NeuronDevice {
    NeuronDevice {
        name: parts[0],
        count: number(parts[1]),
        cores: number(parts[2]),
        core_version: number(parts[3]),
        memory_mib: number(parts[4]),
    }
}

fn elements<T>(text: &'static str, read: impl Fn(&[&'static str]) -> T) -> Vec<T> {
    text.split(';')
        .filter(|element| !element.is_empty())
        .map(|element| read(&element.split('|').collect::<Vec<_>>()))
        .collect()
}

/// `1 2 4-8/2` is 1, 2, 4, 6, 8.
fn ranges(text: &str) -> Vec<u32> {
    text.split_whitespace().flat_map(range).collect()
}

fn range(text: &str) -> Vec<u32> {
    let (span, step) = text.split_once('/').unwrap_or((text, "1"));
    let (low, high) = span.split_once('-').unwrap_or((span, span));
    (number(low)..=number(high)).step_by(number(step)).collect()
}

#[cfg(test)]
mod tests {
    use super::ranges;
    use crate::world::Catalogue;

    #[test]
    fn every_row_of_the_embedded_files_reads() {
        let catalogue = Catalogue::embedded();
        let types = catalogue.machine_types();
        assert_eq!(types.len(), 1404);
        assert!(types.is_sorted_by_key(|machine_type| machine_type.name));
        let priced = |region| {
            types.iter().filter(|t| catalogue.list_price(region, catalogue.index_of(t.name).unwrap()).is_some()).count()
        };
        assert_eq!((priced("us-east-1"), priced("us-west-2"), priced("eu-west-1")), (1395, 1395, 1394));
        assert_eq!(catalogue.zones_of("us-east-1").count(), 7);
    }

    #[test]
    fn a_large_type_reads_completely() {
        let catalogue = Catalogue::embedded();
        let p5 = catalogue.machine_type("p5.48xlarge").unwrap();
        assert_eq!((p5.cpu.vcpus, p5.memory_mib, p5.gpus[0].count, p5.gpus[0].name), (192, 2_097_152, 8, "H100"));
        assert_eq!((p5.network.cards.len(), p5.network.efa_max_interfaces), (32, Some(32)));
        assert_eq!(p5.network.cards[31].index, 31);
        assert_eq!(p5.instance_store.as_ref().map(|store| store.total_gb), Some(30_400));
        assert_eq!(p5.cpu.valid_cores, [12, 24, 36, 48, 60, 72, 84, 96]);
        assert_eq!(p5.ebs.maximum.map(|limits| limits.bandwidth_mbps), Some(80_000));
    }

    #[test]
    fn ranges_are_expanded() {
        assert_eq!(ranges("1 2 4-8/2"), [1, 2, 4, 6, 8]);
        assert_eq!(ranges(""), [0; 0]);
    }
}
