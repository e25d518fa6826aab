"""Brain tissue segmentation with the same U-Net and the same loss in Gluon and in Caffe."""
