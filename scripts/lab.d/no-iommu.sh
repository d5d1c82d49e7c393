# Without an IOMMU a VF can be made and set, and not given away.
#: what the same machine without its IOMMU: no VF can be given away
#: seconds 6
#: iommu off
load igb vfio-pci
accepted "a VF is made" create eth0 1
refused "it cannot go to vfio-pci" no-iommu bind eth0 0 vfio-pci
shows "weir doctor says so" "without an IOMMU" "$(weir doctor -o json)"
accepted "and it can go" create eth0 0
